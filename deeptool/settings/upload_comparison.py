"""Whether a trial's settings fit the upload that it is about to read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deeptool.catalog.events import Begun
from deeptool.catalog.stored import same_value
from deeptool.errors import UserError
from deeptool.settings.experiment import Settings
from deeptool.settings.fingerprint import changed_code, pipeline_code
from deeptool.settings.hparams import ALWAYS_VALID, plain
from deeptool.settings.pipeline_facts import kept_facts


@dataclass(frozen=True)
class OtherValue:
    """A data hparam that is not what it was at the upload.

    Attributes
    ----------
    key : str
    here, there : object
        Its values now and at the upload, or "not there".
    """

    key: str
    here: Any
    there: Any


def other_values(
    own: Mapping[str, Any],
    begun: Begun,
    data_hparams: Mapping[str, Any],
    declared: Collection[str] | None,
) -> list[OtherValue]:
    """The data hparams that differ.

    Parameters
    ----------
    own : mapping
        All hparams, procID and num_procs among them.
    begun : Begun
        The upload's beginning.
    data_hparams : mapping
        The upload's data hparams.
    declared : collection of str or None
        Where a file says data_hparams itself, those count and no others.
    """
    stored = {**begun.hparams, **data_hparams}
    found = []
    for key in sorted(data_hparams) if declared is None else declared:
        if begun.num_procs > 1 and key in ALWAYS_VALID:
            continue
        here = plain(own[key]) if key in own else "not there"
        there = plain(stored[key]) if key in stored else "not there"
        if not same_value(here, there):
            found.append(OtherValue(key, here, there))
    return found


def compare(
    settings: Settings,
    begun: Begun,
    data_hparams: Mapping[str, Any],
    pipeline: Mapping[str, Any] | None = None,
) -> list[str]:
    """Compare a trial's settings with the upload that it is about to read.

    Parameters
    ----------
    settings : Settings
        The trial's. Where its file says data_hparams itself, those count and no others.
    begun : Begun
        The upload's beginning.
    data_hparams : mapping
        The upload's data hparams: of its `Completed`, or of `begun` while it is under way.
    pipeline : mapping, optional
        What the upload's `Completed` knows of the pipeline.

    Returns
    -------
    list of str
        Warnings: other code behind the samples, other raw data. Empty when all agree.

    Raises
    ------
    UserError
        A data hparam differs, named with both values: the trial would silently train on other
        data.
    """
    own = {"procID": settings.proc_id, "num_procs": settings.num_procs, **settings.hparams}
    for other in other_values(own, begun, data_hparams, settings.declared_data_hparams):
        key, here, there = other.key, other.here, other.there
        raise UserError(
            f"the stored samples of '{begun.topic}' were made with another '{key}'",
            seen=f"{key} = {here!r} in this trial, {there!r} at the upload",
            valid=", ".join(f"{name} = {value!r}" for name, value in data_hparams.items()),
            next_step=f"give --hparam {key}={there}, or upload with {key} = {here!r}; where "
            "the samples do not depend on it, set data_hparams = [...] in the settings file",
        )
    return [*_code_warning(settings, begun, pipeline), *_raw_data_warning(settings, begun)]


def _code_warning(
    settings: Settings, begun: Begun, pipeline: Mapping[str, Any] | None
) -> Iterator[str]:
    facts = kept_facts(pipeline)
    changed = changed_code(facts.code, pipeline_code(settings)) if facts is not None else []
    if changed:
        yield (
            f"the code behind the samples of '{begun.topic}' has changed since the upload: "
            f"{', '.join(changed)}; the trial uses the stored samples"
        )


def _raw_data_warning(settings: Settings, begun: Begun) -> Iterator[str]:
    if begun.raw_data is None:
        return
    now = settings.raw_data(begun.split)
    if now is not None and now["digest"] != begun.raw_data.get("digest"):
        yield (
            f"the raw data has changed since the upload of '{begun.topic}': "
            f"{describe_raw_data(now)} now, {describe_raw_data(begun.raw_data)} then"
        )


def describe_raw_data(facts: Mapping[str, Any]) -> str:
    newest = facts.get("newest")
    when = f", newest {datetime.fromtimestamp(newest):%Y-%m-%d %H:%M:%S}" if newest else ""
    return f"{facts.get('files')} files of {facts.get('bytes')} bytes{when}"
