"""Read the beginning of a settings file's pipeline as every process would, and digest it.

This runs in a process of its own (see `probe_process`): it settles TensorFlow's global state.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from deeptool.codec.spec import Spec
from deeptool.codec.tensors import leaves_from_tf
from deeptool.codec.values import rows, slice_rows
from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.pipelines.sample_digest import SampleDigest
from deeptool.pipelines.settings_pipeline import sample_limit
from deeptool.pipelines.settled_tensorflow import one_thread, settle_tensorflow
from deeptool.settings import Settings, load_settings
from deeptool.settings.fingerprint import pipeline_code, training_code, user_files
from deeptool.settings.hparams import check_overrides, plain
from deeptool.settings.pipeline_facts import PipelineFacts, digests_differ


@dataclass(frozen=True)
class ProbeRequest:
    """What to read, and for how long.

    Attributes
    ----------
    usersettings : str
        The settings file.
    split : str
    proc_id, num_procs, variant, hparams
        As for `load_settings`.
    auto_shard : bool
    limit : int or None
        Samples an epoch; None: as the settings say.
    epochs : int
        Passes that an upload would store. The probe reads the first: with more it is never whole.
    seconds : float
        For reading samples. 0: the pipeline is built, and not read.
    training : bool
        Whether the code of the training and the user's files are asked for, too.
    batched : bool or None
        Whether the pipeline makes batches; None: as the settings say.
    unpadded : bool
        Digest samples without what the settings' padding_value fills up at their ends.
    overrides : sequence of mapping
        Of all trials and producers: the file's hparams must be able to take them.
    """

    usersettings: str
    split: str
    proc_id: int | None = None
    num_procs: int | None = None
    variant: int | None = None
    hparams: Mapping[str, Any] = field(default_factory=dict)
    auto_shard: bool = False
    limit: int | None = None
    epochs: int = 1
    seconds: float = 5.0
    training: bool = False
    batched: bool | None = None
    unpadded: bool = False
    overrides: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ProbeReport:
    """What a probe has found out.

    Attributes
    ----------
    facts : PipelineFacts
    session_name : str
    proc_id, num_procs : int
    hparams, data_hparams : mapping
        All of them, and those that the pipeline has looked up.
    own_hparams : mapping
        Those of the file itself, without overrides.
    declared : list of str or None
        The file's own ``data_hparams``.
    limits : tuple of (int or None)
        Samples an epoch, for a pipeline that ends and for one that does not.
    raw_data : mapping or None
    settings_sha256 : str
    training : mapping of str to str
    files : tuple of str
        Absolute paths of the user's files; empty where they were not asked for.
    batch_size : int
    pads : bool
        Whether the settings have a padding_value.
    warnings : tuple of str
        What the settings file says that probably does not mean what it was meant to.
    broken : mapping or None
        What is wrong with a pipeline that cannot run anywhere, as the parts of a `UserError`.
    exit_code : int
        Of the error that `facts.failed` describes; 0 without one.
    """

    facts: PipelineFacts
    session_name: str
    proc_id: int
    num_procs: int
    hparams: Mapping[str, Any]
    data_hparams: Mapping[str, Any]
    declared: list[str] | None
    limits: tuple[int | None, ...]
    raw_data: Mapping[str, Any] | None
    settings_sha256: str
    training: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    batch_size: int = 0
    pads: bool = False
    own_hparams: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    broken: Mapping[str, Any] | None = None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "facts": self.facts.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProbeReport:
        known = {**value, "facts": PipelineFacts.from_json(value["facts"])}
        lists = ("limits", "files", "warnings")
        return cls(**{**known, **{name: tuple(value[name]) for name in lists}})


def probe_pipeline(request: ProbeRequest, keep: Callable[[ProbeReport], None]) -> None:
    """Load the settings, read the pipeline for a while, and hand over what was found.

    Parameters
    ----------
    request : ProbeRequest
    keep : callable
        Called once: at the end, or from another thread at the time limit if the next sample does
        not come (the first one is waited for a minute). Nothing more is to be expected of this
        process then.

    Raises
    ------
    UserError
        The settings cannot be loaded, cannot take the overrides, or name no model file. Whatever
        goes wrong in the pipeline is among the facts.
    """
    settle_tensorflow()
    settings = load_settings(
        request.usersettings,
        proc_id=request.proc_id,
        num_procs=request.num_procs,
        variant=request.variant,
        hparams=request.hparams,
    )
    check_overrides(settings.loaded.own_hparams, request.overrides)
    # Asked before the pipeline runs: that may change what the file's names hold.
    training = training_code(settings) if request.training else {}
    reading = _Reading(settings, request)
    once, handed_over, ended = threading.Lock(), threading.Event(), threading.Event()

    def hand_over() -> None:
        with once:
            if not handed_over.is_set():
                report = make_report(settings, request, reading.facts(), training, reading.broken)
                keep(replace(report, exit_code=reading.exit_code))
                handed_over.set()

    def hand_over_in_time() -> None:
        began = time.monotonic()
        while not ended.wait(_GRACE) and not handed_over.is_set():
            waited = time.monotonic() - began
            if waited < request.seconds or (waited < _FIRST_SECONDS and reading.without_sample):
                continue
            # The pipeline may just be changing what the report is made of.
            with suppress(RuntimeError):
                hand_over()

    threading.Thread(target=hand_over_in_time, daemon=True, name="time limit").start()
    reading.run()
    ended.set()
    hand_over()


def make_report(
    settings: Settings,
    request: ProbeRequest,
    facts: PipelineFacts,
    training: Mapping[str, str] | None = None,
    broken: Mapping[str, Any] | None = None,
) -> ProbeReport:
    """What is known of settings, around what is known of a pipeline."""
    files = user_files(settings) if request.training else []
    return ProbeReport(
        facts=facts,
        session_name=settings.session_name,
        proc_id=settings.proc_id,
        num_procs=settings.num_procs,
        hparams=settings.hparams,
        data_hparams=settings.data_hparams(),
        declared=settings.declared_data_hparams,
        limits=tuple(
            request.limit or sample_limit(settings, request.split, request.auto_shard, endless)
            for endless in (False, True)
        ),
        raw_data=settings.raw_data(request.split),
        settings_sha256=settings.sha256,
        training=training or {},
        files=tuple(str(file) for file in files),
        batch_size=settings.batch_size,
        pads=settings.padding_value is not None,
        own_hparams=plain(settings.loaded.own_hparams),
        warnings=settings.warnings,
        broken=broken,
    )


def code_facts(settings: Settings, failed: str = "") -> PipelineFacts:
    """What is known of a pipeline that was not read."""
    import keras
    import numpy
    import tensorflow as tf

    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    versions["numpy"] = numpy.__version__
    return PipelineFacts(code=pipeline_code(settings), versions=versions, failed=failed)


# How much later than the limit a batch may come.
_GRACE = 1.0
# The first one may come later: without any sample, nothing is known of the pipeline.
_FIRST_SECONDS = 60.0


class _Reading:
    """One pass over the pipeline, as far as the time goes."""

    def __init__(self, settings: Settings, request: ProbeRequest) -> None:
        self._settings, self._request = settings, request
        self._digest: SampleDigest | None = None
        self._spec, self._failed = "", ""
        self._ended = False
        self.broken: dict[str, Any] | None = None
        self.exit_code = 0

    @property
    def without_sample(self) -> bool:
        """Whether a first sample is still to come."""
        return self._digest is None or not self._digest.samples

    def run(self) -> None:
        try:
            self._read()
        except Exception as error:
            traceback.clear_frames(error.__traceback__)
            line = next(iter(str(error).strip().splitlines()), "")
            if isinstance(error, DeeptoolError):
                self._failed, self.exit_code = line, error.exit_code
            else:
                self._failed, self.exit_code = _described(error, line), WorkError.exit_code
            self.broken = _broken(error)
        if self.broken is None and not (self._digest and self._digest.samples):
            lacking = self._settings.missing_raw_data(self._request.split)
            if lacking is not None and (self._failed or self._ended):
                self.broken = lacking.details

    def facts(self) -> PipelineFacts:
        digest = self._digest
        known = code_facts(self._settings, self._failed)
        if digest is None:
            return replace(known, element_spec=self._spec)
        whole = self._ended and self._request.epochs == 1
        return replace(
            known,
            checkpoints=tuple(digest.checkpoints),
            end=digest.samples if whole else None,
            element_spec=self._spec,
        )

    def _read(self) -> None:
        import tensorflow as tf

        request = self._request
        dataset = self._settings.pipeline(request.split)
        batched = self._settings.batched if request.batched is None else request.batched
        spec = Spec.from_tf(dataset.element_spec, batched)
        self._spec = str(spec.with_rows(None))
        if request.seconds <= 0:
            return
        padding = self._settings.padding_value if request.unpadded else None
        digest = self._digest = SampleDigest(spec, padding)
        endless = int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
        limit = request.limit or sample_limit(
            self._settings, request.split, request.auto_shard, endless
        )
        if endless and limit is None:
            raise UserError("the input pipeline is infinite and no limit is given")
        deadline = time.monotonic() + request.seconds
        for element in dataset.with_options(one_thread()):
            leaves = leaves_from_tf(element, spec)
            if limit is not None:
                leaves = slice_rows(leaves, 0, min(rows(leaves), limit - digest.samples))
            digest.add(leaves)
            if digest.samples == limit:
                break
            if time.monotonic() > deadline:
                return
        digest.keep()
        self._ended = True


# What no other number of threads or kind of device would have prevented.
_EVERYWHERE = (NameError, AttributeError, ImportError, FileNotFoundError)


def _broken(error: Exception) -> dict[str, Any] | None:
    """What is wrong with a pipeline that fails wherever it runs; None where others might not."""
    if isinstance(error, UserError) and isinstance(error.__cause__, _EVERYWHERE):
        return error.details
    return None


def _described(error: Exception, line: str) -> str:
    return f"{type(error).__name__}: {line}"


def without_digests(report: ProbeReport) -> ProbeReport:
    """`report`, as if its pipeline were known to yield other samples in each process."""
    return replace(report, facts=replace(report.facts, reproducible=False))


def tried_again(report: ProbeReport, other: ProbeReport) -> ProbeReport:
    """`report`, which says whether another process read the same samples."""
    same = bool(other.facts.checkpoints) and not digests_differ(report.facts, other.facts)
    return replace(report, facts=replace(report.facts, reproducible=same))
