"""A settings file after it ran: its text, its names, and what it did while it ran."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from deeptool.settings import usercode
from deeptool.settings.lineage import Lineage
from deeptool.settings.opened_files import OpenedFiles
from deeptool.settings.recording_dict import RecordingDict
from deeptool.settings.user_modules import is_users


class LoadedFile:
    """What is known of one execution of a settings file.

    Attributes
    ----------
    source : UserSource
    module : ModuleType
        The names of the file.
    lineage : Lineage
    hparams : RecordingDict
    opened : OpenedFiles
    """

    def __init__(
        self,
        source: usercode.UserSource,
        module: ModuleType,
        lineage: Lineage,
        hparams: RecordingDict,
        imports: usercode.Imports,
        opened: OpenedFiles,
        replaced: Mapping[str, Any],
    ) -> None:
        self.source, self.module, self.lineage = source, module, lineage
        self.hparams, self.opened = hparams, opened
        self._replaced = replaced
        self._helpers = frozenset(imports.modules())
        self._before_pipeline: frozenset[str] | None = None

    @property
    def own_hparams(self) -> dict[str, Any]:
        """The hparams as the file itself has them, without overrides of other values."""
        return {**self.hparams.unrecorded(), **self._replaced}

    def behind(self, roots: Collection[str]) -> frozenset[str]:
        """The hparams behind top-level names; see `Lineage.behind`."""
        return self.lineage.behind(roots, self.hparams, self._helpers)

    def reached(self, roots: Collection[str]) -> tuple[set[int], set[str]]:
        """The statements and the names behind top-level names; see `Lineage.reached`."""
        return self.lineage.reached(roots, self.hparams, self._helpers)

    def follow_pipeline(self) -> None:
        """From now on, what is imported and opened is the pipeline's doing."""
        self.opened.follow_pipeline()
        if self._before_pipeline is None:
            self._before_pipeline = frozenset(sys.modules)

    def imported_by_pipeline(self) -> set[Path]:
        """Files of the user's modules that were first imported while the pipeline ran."""
        if self._before_pipeline is None:
            return set()
        since = set(sys.modules) - self._before_pipeline
        files = {getattr(sys.modules.get(name), "__file__", None) for name in since}
        return {Path(file) for file in files if file and is_users(file)}

    def imported_while_loading(self) -> set[Path]:
        """Files of the user's modules that the file imported while it ran."""
        files = {getattr(sys.modules.get(name), "__file__", None) for name in self._helpers}
        return {Path(file) for file in files if file and is_users(file)}
