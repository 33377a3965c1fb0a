"""What a trial was asked for, and what it began with: enough to resume it later."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deeptool.files import sha256
from deeptool.settings import Settings, code_snapshot, load_settings
from deeptool.settings.fingerprint import user_files
from deeptool.training.session_folder import SessionFolder
from deeptool.training.trial_source import TrialSource


@dataclass(frozen=True)
class TrialRequest:
    """The arguments of `train`.

    Attributes
    ----------
    settings : Path
        The settings file, absolute.
    hparams : mapping
        Overrides, as JSON has them.
    proc_id : int or None
    kafka : bool or None
        None: as the settings say.
    source : TrialSource
    variant : int or None
        The one whose shards are read.
    """

    settings: Path
    hparams: Mapping[str, Any]
    proc_id: int | None
    kafka: bool | None
    source: TrialSource
    variant: int | None = None

    def from_kafka(self, settings: Settings) -> bool:
        """Whether the stored dataset is read: on a broker, or sealed."""
        if self.kafka is None:
            return settings.consume_data_from_kafka or self.source.sealed is not None
        return self.kafka

    def data_from(self, settings: Settings | None) -> Literal["kafka", "sealed", "pipeline"]:
        """Where the samples come from; of a trial whose settings could not be loaded, as asked."""
        if not (self.kafka or (settings and self.from_kafka(settings)) or self.source.sealed):
            return "pipeline"
        return "kafka" if self.source.sealed is None else "sealed"

    def load(self) -> Settings:
        return load_settings(
            self.settings, proc_id=self.proc_id, variant=self.variant, hparams=self.hparams
        )

    def to_json(self) -> dict[str, Any]:
        properties = self.source.client_properties
        return {
            "settings": str(self.settings),
            "hparams": dict(self.hparams),
            "proc_id": self.proc_id,
            "variant": self.variant,
            "kafka": self.kafka,
            "servers": list(self.source.servers),
            # A file's name and never its contents: there are passwords in it.
            "client_properties": os.path.abspath(properties)
            if isinstance(properties, (str, os.PathLike))
            else None,
            "reader": self.source.reader,
            "online": self.source.online,
            "drop_remainder": self.source.drop_remainder,
            "padding_value": self.source.padding_value,
            "order": self.source.order,
            "cache": self.source.cache,
            "sealed": self.source.sealed,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: TrialSource) -> TrialRequest:
        """The request of an earlier run; where `source` says something, that counts."""
        return cls(
            Path(values["settings"]),
            values["hparams"],
            values["proc_id"],
            values["kafka"],
            dataclasses.replace(
                source,
                servers=source.servers or tuple(values["servers"]),
                client_properties=source.client_properties or values["client_properties"],
                reader=values["reader"],
                # Sessions of earlier releases do not say it.
                online=values.get("online", False),
                drop_remainder=values.get("drop_remainder"),
                padding_value=values.get("padding_value"),
                order=values.get("order", "auto"),
                cache=values.get("cache", "auto"),
                # The folder may have been moved.
                sealed=source.sealed or values.get("sealed"),
            ),
            values.get("variant"),
        )


def copies(settings: Settings) -> dict[str, tuple[Path, str]]:
    """The files to keep: what each is, where it is, its name in the session folder."""
    model, file = settings.model_path, settings.path
    same = model.name == file.name
    return {
        "settings": (file, file.name),
        "model": (model, f"model_{model.name}"[6 * (not same) :]),
    }


def module_hashes(settings: Settings) -> dict[str, str]:
    """SHA-256 of each of the user's modules that the settings or the model file may import."""
    first = {settings.path, settings.model_path}
    files = [file for file in user_files(settings) if file not in first]
    return {str(file): sha256(code_snapshot.read_bytes(file)) for file in files}


def reload(request: TrialRequest, session: SessionFolder, say: Callable[[str], None]) -> Settings:
    """The settings of a trial that resumes, as they were when it began.

    Parameters
    ----------
    say : callable
        Called with each file that has changed since.

    Raises
    ------
    UserError
        As `load_settings`.
    """
    kept = session.config()["copies"]
    settings = dataclasses.replace(request, settings=_kept(kept["settings"], session, say)).load()
    settings.model_file = str(_kept(kept["model"], session, say))
    for name, before in session.config().get("modules", {}).items():
        module = Path(name)
        if not module.is_file() or sha256(module.read_bytes()) != before:
            say(
                f"{module} has changed since the trial began, and the trial resumes with the change"
            )
    return settings


def _kept(copied: Mapping[str, str], session: SessionFolder, say: Callable[[str], None]) -> Path:
    """The original where it is unchanged, since it knows the files beside it; else the copy."""
    copy, original = session.path / copied["name"], Path(copied["from"])
    with contextlib.suppress(OSError):
        if original.read_bytes() == copy.read_bytes():
            return original
    say(f"{original} has changed since: the trial resumes with the copy in the session folder")
    if str(original.parent) not in sys.path:
        sys.path.append(str(original.parent))
    return copy
