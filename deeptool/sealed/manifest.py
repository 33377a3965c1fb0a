"""The manifest of a sealed dataset: what it holds, in which files, and their digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deeptool.catalog import events
from deeptool.catalog.event_frame import unsealed
from deeptool.catalog.event_schema import MalformedEvent
from deeptool.catalog.events import Begun, Completed, Event
from deeptool.catalog.fold import Catalog, fold
from deeptool.errors import UserError
from deeptool.files import write_json

FILE = "manifest.json"
# Of the folder; a later deeptool may write a larger one.
FORMAT = 1


@dataclass(frozen=True)
class SealedPass:
    """One stored pass of an upload, in a folder of its own.

    Attributes
    ----------
    folder : str
        Its path in the folder of the dataset.
    rows : str
        The name of the file of rows: ``rows.arrow``, an Arrow file, where each row takes the same
        number of bytes; else ``rows.arrows``, an Arrow stream.
    sizes : mapping of str to int
        Bytes of each file: rows, "journal" and "records.arrow".
    digests : mapping
        See `deeptool.columns.row_damage.row_digests`.
    records_sha256 : str
        Of records.arrow.
    """

    folder: str
    rows: str
    sizes: Mapping[str, int]
    digests: Mapping[str, Any]
    records_sha256: str


@dataclass(frozen=True)
class SealedUpload:
    """A complete upload: a shard, or a variant, of one split.

    Attributes
    ----------
    begun, completed
        What the catalog says of it.
    passes : tuple of SealedPass
        One for each stored epoch.
    """

    begun: Begun
    completed: Completed
    passes: tuple[SealedPass, ...]


@dataclass(frozen=True)
class Manifest:
    """What a sealed dataset holds.

    Attributes
    ----------
    name : str
        What it was stored under.
    time : float
        When it was sealed: Unix time, for people.
    versions : mapping of str to str
        Of the programs that sealed it.
    uploads : tuple of SealedUpload
    """

    name: str
    time: float
    versions: Mapping[str, str]
    uploads: tuple[SealedUpload, ...]

    @property
    def catalog(self) -> Catalog:
        """What it holds, as the catalog of the broker said it."""
        return fold(event for one in self.uploads for event in (one.begun, one.completed))

    @property
    def size(self) -> int:
        """Bytes of all files but this one."""
        passes = [one for upload in self.uploads for one in upload.passes]
        return sum(size for one in passes for size in one.sizes.values())

    def to_json(self) -> dict[str, Any]:
        """As it is written; its last field is a digest of all others."""
        values = {
            "format": FORMAT,
            "name": self.name,
            "time": self.time,
            "versions": dict(self.versions),
            "uploads": [
                {
                    "begun": _fields(upload.begun),
                    "completed": _fields(upload.completed),
                    "passes": [asdict(one) for one in upload.passes],
                }
                for upload in self.uploads
            ],
        }
        return {**values, "sha256": _digest(values)}

    def write(self, folder: Path) -> None:
        """Put it into a folder; with it, the folder is a sealed dataset.

        Raises
        ------
        OSError
            The disk is full, for example.
        """
        write_json(folder / FILE, self.to_json())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a sealed dataset.

    Raises
    ------
    UserError
        The folder is no sealed dataset, cannot be read, was written by a later deeptool, or its
        manifest is damaged.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        there = folder.exists()
        raise UserError(
            "this is no sealed dataset" if there else "there is no such sealed dataset",
            seen=f"{folder}: it has no {FILE}" if there else str(folder),
            valid="a folder that deeptool seal wrote",
            next_step="deeptool seal NAME --to DIR --server HOST:PORT writes one",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    try:
        values = json.loads(text)
        written = values["format"]
        if written == FORMAT:
            if values.pop("sha256") != _digest(values):
                raise ValueError("its digest is wrong")
            return _parsed(values)
        if not isinstance(written, int) or written < FORMAT:
            raise ValueError(f"format {written!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            "the manifest of a sealed dataset is damaged",
            seen=f"{path}: {error}",
            valid="the file as deeptool seal wrote it",
            next_step="copy the folder again, or seal the dataset again with --replace",
        ) from error
    raise UserError(
        "a sealed dataset was written by a later version of deeptool",
        seen=f"{path}: format {written}",
        valid=f"format {FORMAT}",
        next_step="pip install --upgrade deeptool",
    )


def unreadable(path: Path, error: Exception) -> UserError:
    """The error of a file that is there, but cannot be read."""
    return UserError(
        "a sealed dataset cannot be read",
        seen=f"{path}: {getattr(error, 'strerror', None) or error}",
        valid="files that this user may read",
    )


def _fields(event: Event) -> dict[str, Any]:
    values = unsealed(events.to_json(event))[0]
    del values["crc"]
    return values


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _parsed(values: Mapping[str, Any]) -> Manifest:
    uploads = tuple(
        SealedUpload(
            _event(one["begun"], Begun),
            _event(one["completed"], Completed),
            tuple(SealedPass(**each) for each in one["passes"]),
        )
        for one in values["uploads"]
    )
    return Manifest(values["name"], values["time"], values["versions"], uploads)


def _event(values: Mapping[str, Any], kind: type[Any]) -> Any:
    event = events.from_values(values)
    if not isinstance(event, kind):
        raise MalformedEvent(f"it is not a {kind.event}")
    return event
