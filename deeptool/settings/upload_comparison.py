"""Whether a trial's settings fit the upload that it is about to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from deeptool.catalog.events import Begun
from deeptool.catalog.stored import same_value
from deeptool.errors import UserError
from deeptool.settings.experiment import Settings
from deeptool.settings.hparams import ALWAYS_VALID, plain

_ABSENT = object()


def compare(settings: Settings, begun: Begun, data_hparams: Mapping[str, Any]) -> list[str]:
    """Compare a trial's settings with the upload that it is about to read.

    Parameters
    ----------
    settings : Settings
        The trial's. Where its file says data_hparams itself, those count and no others.
    begun : Begun
        The upload's beginning.
    data_hparams : mapping
        The upload's data hparams: of its `Completed`, or of `begun` while it is under way.

    Returns
    -------
    list of str
        Warnings: another settings file, other raw data. Empty when all agree.

    Raises
    ------
    UserError
        A data hparam differs, named with both values: the trial would silently train on other
        data.
    """
    stored = {**begun.hparams, **data_hparams}
    keys = settings.declared_data_hparams
    own = {"procID": settings.proc_id, "num_procs": settings.num_procs, **settings.hparams}
    for key in sorted(data_hparams) if keys is None else keys:
        if begun.num_procs > 1 and key in ALWAYS_VALID:
            continue
        here, there = plain(own.get(key, _ABSENT)), plain(stored.get(key, _ABSENT))
        here = here if key in own else "not there"
        there = there if key in stored else "not there"
        if not same_value(here, there):
            raise UserError(
                f"the stored samples of '{begun.topic}' were made with another '{key}'",
                seen=f"{key} = {here!r} in this trial, {there!r} at the upload",
                valid=", ".join(f"{name} = {value!r}" for name, value in data_hparams.items()),
                next_step=f"give --hparam {key}={there}, or upload with {key} = {here!r}; where "
                "the samples do not depend on it, set data_hparams = [...] in the settings file",
            )
    return [*_settings_warning(settings, begun), *_raw_data_warning(settings, begun)]


def _settings_warning(settings: Settings, begun: Begun) -> Iterator[str]:
    if begun.settings_sha256 not in (None, settings.sha256):
        yield (
            f"the settings file has changed since the upload of '{begun.topic}'; the trial uses "
            f"the stored samples (SHA-256 {settings.sha256[:8]} now, "
            f"{str(begun.settings_sha256)[:8]} then)"
        )


def _raw_data_warning(settings: Settings, begun: Begun) -> Iterator[str]:
    if begun.raw_data is None:
        return
    now = settings.raw_data(begun.split)
    if now is not None and now["digest"] != begun.raw_data.get("digest"):
        yield (
            f"the raw data has changed since the upload of '{begun.topic}': "
            f"{_describe(now)} now, {_describe(begun.raw_data)} then"
        )


def _describe(facts: Mapping[str, Any]) -> str:
    newest = facts.get("newest")
    when = f", newest {datetime.fromtimestamp(newest):%Y-%m-%d %H:%M:%S}" if newest else ""
    return f"{facts.get('files')} files of {facts.get('bytes')} bytes{when}"
