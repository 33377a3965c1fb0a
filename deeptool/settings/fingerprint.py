"""What stored samples were made of: the settings file, the data hparams, the raw data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from deeptool.errors import UserError
from deeptool.files import sha256
from deeptool.settings.hparams import ALWAYS_VALID, plain

if TYPE_CHECKING:
    from deeptool.catalog.events import Begun
    from deeptool.settings.experiment import Settings

_ABSENT = object()


def raw_data(folder: str) -> dict[str, Any] | None:
    """The fingerprint of a raw data folder, by its listing: no file is opened.

    Parameters
    ----------
    folder : str
        Walked with all folders within, links followed; or one file.

    Returns
    -------
    dict or None
        "digest": SHA-256 over the sorted relative names, sizes and modification times (ns);
        "files": how many; "bytes": their sizes' sum; "newest": the last modification, Unix time
        in seconds (None without files). None where there is no such folder, or none is named.

    Raises
    ------
    UserError
        A folder within cannot be listed.
    """
    if not folder or not os.path.exists(folder):
        return None
    try:
        entries = sorted(_listing(folder))
    except OSError as error:
        raise UserError(
            f"cannot list the raw data: {error.strerror}", seen=error.filename or folder
        ) from error
    lines = [os.fsencode(f"{name}\0{size}\0{modified}\0") for name, size, modified in entries]
    return {
        "digest": sha256(b"".join(lines)),
        "files": len(entries),
        "bytes": sum(size for _, size, _ in entries),
        "newest": max((modified for *_, modified in entries), default=0) / 1e9 or None,
    }


def _listing(folder: str) -> Iterator[tuple[str, int, int]]:
    """Relative name, size in bytes and modification time in ns of every file."""
    if not os.path.isdir(folder):
        status = os.stat(folder)
        yield os.path.basename(folder), status.st_size, status.st_mtime_ns
        return
    waiting = [folder]
    visited = set()
    while waiting:
        current = waiting.pop()
        status = os.stat(current)
        # A link may lead back up.
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=entry.is_file())
                name = os.path.relpath(entry.path, folder)
                yield name, status.st_size, status.st_mtime_ns


def compare(settings: Settings, begun: Begun, data_hparams: Mapping[str, Any]) -> list[str]:
    """Hold a trial's settings against the upload that it is about to read.

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
        if here != there:
            raise UserError(
                f"the stored samples of '{begun.topic}' were made with another '{key}'",
                seen=f"{key} = {here!r} in this trial, {there!r} at the upload",
                valid=", ".join(f"{name} = {value!r}" for name, value in data_hparams.items()),
                next_step=f"give --hparam {key}={there}, or upload with {key} = {here!r}; where "
                "the samples do not depend on it, say data_hparams = [...] in the settings file",
            )
    return [*_settings_warning(settings, begun), *_raw_data_warning(settings, begun)]


def _settings_warning(settings: Settings, begun: Begun) -> Iterator[str]:
    if begun.settings_sha256 not in (None, settings.sha256):
        yield (
            f"the settings file has changed since the upload of '{begun.topic}'; what it uploaded "
            f"is used (SHA-256 {settings.sha256[:8]} now, {str(begun.settings_sha256)[:8]} then)"
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
