"""What is known of a pipeline's samples: digests of how they begin, and the code behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deeptool.settings.fingerprint import changed_code

# Every count up to here has a digest; from here on each is about 1.4 times the one before.
_DENSE = 16


def checkpoint_counts(least: int, most: int) -> list[int]:
    """The numbers of samples, `least` to `most`, at which a digest is kept: always the same."""
    counts = list(range(1, _DENSE + 1))
    while counts[-1] < most:
        # In whole numbers: the same on every machine.
        counts.append(counts[-1] * 7 // 5)
    return [count for count in counts if least <= count <= most]


_LONGEST_SPEC = 1000


@dataclass(frozen=True)
class PipelineFacts:
    """What one reading of a pipeline, and a look at its code, have found out.

    Attributes
    ----------
    checkpoints : tuple of (int, str)
        Number n of samples, SHA-256 (hex) over the first n; ascending. The last one may be any n.
    end : int or None
        How many samples the pass holds, where it was read to its end and one pass is all of it.
    reproducible : bool or None
        Whether another process reads the same samples; None: nobody has tried.
    element_spec : str
        Of a single sample: no batch size in it. A long one is cut, with its hash.
    code : mapping of str to str
        Definition or file -> hash; see `deeptool.settings.fingerprint.pipeline_code`.
    versions : mapping of str to str
        Of tensorflow, keras and numpy.
    failed : str
        Why the pipeline could not be read (further); empty where it could.
    """

    checkpoints: tuple[tuple[int, str], ...] = ()
    end: int | None = None
    reproducible: bool | None = None
    element_spec: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    failed: str = ""

    def __post_init__(self) -> None:
        # There may be thousands of components, and the catalog keeps this for good.
        object.__setattr__(self, "element_spec", _cut(self.element_spec))

    @property
    def fingerprint(self) -> str:
        """One hash of `code`."""
        text = "\n".join(f"{name} {value}" for name, value in sorted(self.code.items()))
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PipelineFacts:
        """Read what `to_json` gave; keys that a later release adds are left out.

        Raises
        ------
        ValueError
            It is none.
        """
        try:
            known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
            marks = tuple((int(count), str(text)) for count, text in known.pop("checkpoints"))
            return cls(checkpoints=marks, **known)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"these are no facts of a pipeline: {error!r}") from error


def _cut(text: str) -> str:
    if len(text) <= _LONGEST_SPEC:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
    # What is cut is short enough to be left alone the next time.
    return f"{text[: _LONGEST_SPEC - 100]}... ({len(text)} characters, SHA-256 {digest})"


def kept_facts(value: Mapping[str, Any] | None) -> PipelineFacts | None:
    """The facts that a catalog keeps; None where there are none that this release can read."""
    try:
        return None if value is None else PipelineFacts.from_json(value)
    except ValueError:
        return None


def same_samples(stored: PipelineFacts, now: PipelineFacts) -> list[str]:
    """How two pipelines' samples differ, or may differ.

    Other digests prove that they do. The same digests prove that they do not where both were read
    to the end; else the code has to be the same as well. Digests of pipelines that no two processes
    read alike say nothing: the code decides alone.

    Returns
    -------
    list of str
        Differences for people; empty where the samples are the same.
    """
    differences = []
    if stored.element_spec and now.element_spec and stored.element_spec != now.element_spec:
        differences.append(f"element_spec: {stored.element_spec} stored, {now.element_spec} now")
    digests = _other_digests(stored, now) if _told(stored, now) else []
    whole = proven_same(stored, now)
    code = changed_code(stored.code, now.code)
    if code and not whole:
        differences.append(f"code: {', '.join(code)}")
    if not whole and not (stored.code and now.code):
        differences.append("code: not known")
    return [*differences, *digests]


def proven_same(stored: PipelineFacts, now: PipelineFacts) -> bool:
    """Whether both were read to the end, and all samples are the same."""
    whole = stored.end is not None and stored.end == now.end
    return whole and _told(stored, now) and not _other_digests(stored, now)


def _told(stored: PipelineFacts, now: PipelineFacts) -> bool:
    return stored.reproducible is not False and now.reproducible is not False


def digests_differ(stored: PipelineFacts, now: PipelineFacts) -> bool:
    """Whether they differ in their samples' digests: entropy may be why, if not another pipeline.

    Where it matters, a second reading in another process has to tell.
    """
    return bool(_other_digests(stored, now))


def compared(one: PipelineFacts, other: PipelineFacts) -> bool:
    """Whether there is a sample of both pipelines that their digests compare."""
    return bool(dict(one.checkpoints).keys() & dict(other.checkpoints).keys())


def _other_digests(stored: PipelineFacts, now: PipelineFacts) -> list[str]:
    before, after = dict(stored.checkpoints), dict(now.checkpoints)
    common = sorted(before.keys() & after.keys())
    for count in common:
        if before[count] != after[count]:
            return [f"samples: other values within the first {count}"]
    for ended, other in ((stored, now), (now, stored)):
        if ended.end is None:
            continue
        reached = other.checkpoints[-1][0] if other.checkpoints else 0
        if reached > ended.end or other.end not in (None, ended.end):
            held = [facts.end or f"more than {ended.end}" for facts in (stored, now)]
            return [f"samples: {held[0]} stored, {held[1]} now"]
    return []
