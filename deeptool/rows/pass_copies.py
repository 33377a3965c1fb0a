"""The copies of a stored dataset's passes: found or begun when a pass is first read from them."""

from __future__ import annotations

import json
import logging
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

from deeptool.codec.spec import Spec
from deeptool.columns.cache_folder import VARIABLES, open_cache_folder
from deeptool.columns.free_memory import available_memory
from deeptool.columns.growing_columns import Fill, GrowingColumns, NoLocalCopy
from deeptool.columns.local_copy import find_or_fill, is_whole
from deeptool.columns.memory_columns import columns_in_memory
from deeptool.fork_lock import ForkLock

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PassToCopy:
    """One stored pass, as rows.

    Attributes
    ----------
    name : str
        Of the dataset and its split, for people.
    uploads : sequence of str
        The ids of its uploads, shard after shard.
    epoch : int
        The stored epoch.
    spec : Spec
        Of the rows.
    samples : int
    size : int
        Bytes that it takes in the store.
    """

    name: str
    uploads: Sequence[str]
    epoch: int
    spec: Spec
    samples: int
    size: int

    @property
    def key(self) -> str:
        return f"{self.name}, stored epoch {self.epoch}, upload {', '.join(self.uploads)}"


@dataclass
class PassCopies:
    """The copies that this process has open: one for each pass, place and form of the rows.

    They are closed when nobody reads the dataset any more.
    """

    _open: dict[tuple[str, str], GrowingColumns] = field(default_factory=dict)
    _without: set[str] = field(default_factory=set)
    _lock: ForkLock = field(default_factory=ForkLock)

    def __post_init__(self) -> None:
        weakref.finalize(self, _close, self._open)

    def __reduce__(self) -> tuple[type[PassCopies], tuple[()]]:
        # Another process opens them itself.
        return PassCopies, ()

    def on_disk(self, where: str, wanted: PassToCopy, fill: Fill) -> GrowingColumns | None:
        """The node's copy; None where there can be none, of which a warning is logged once.

        Parameters
        ----------
        where : str
            A folder, or "auto".
        """
        with self._lock:
            if where in self._without:
                return None
            name = _name(where, wanted)
            if name not in self._open:
                try:
                    self._open[name] = find_or_fill(
                        *(wanted.key, wanted.spec, wanted.samples, fill),
                        open_cache_folder(_environment(where)),
                        expected_bytes=wanted.size,
                        warn=_LOG.warning,
                    )
                except NoLocalCopy as error:
                    self._give_up(where, error)
                    return None
            return self._open[name]

    def whole(self, wanted: PassToCopy, fill: Fill) -> GrowingColumns | None:
        """A copy that has all rows already, wherever it is; None where there is none."""
        with self._lock:
            facts = _name("", wanted)[1]
            found = [columns for name, columns in self._open.items() if name[1] == facts]
        for columns in found:
            if columns.filled == wanted.samples:
                return columns
        try:
            folder = open_cache_folder(_environment("auto"))
        except NoLocalCopy:
            return None
        if not is_whole(wanted.key, wanted.spec, wanted.samples, folder):
            return None
        copy = self.on_disk("auto", wanted, fill)
        return copy if copy is not None and copy.filled == wanted.samples else None

    def in_memory(self, wanted: PassToCopy, fill: Fill) -> GrowingColumns:
        """A copy of this process' own.

        Raises
        ------
        NoLocalCopy
            It would take more than half of the memory that is free.
        """
        with self._lock:
            name = _name("memory", wanted)
            if name not in self._open:
                free = available_memory()
                if 2 * wanted.size > free:
                    raise NoLocalCopy(
                        "there is no memory for a copy of the dataset",
                        seen=f"{wanted.size:,} bytes; {free:,} are free",
                        valid="at most half of what is free",
                        next_step="read it in windowed order (order='windowed', --order windowed)",
                    )
                self._open[name] = columns_in_memory(
                    wanted.spec, wanted.samples, fill, expected_bytes=wanted.size
                )
            return self._open[name]

    def lost(self, where: str, wanted: PassToCopy, error: NoLocalCopy) -> None:
        """Read no more from a copy that could not be filled."""
        with self._lock:
            self._give_up(where, error)
            columns = self._open.pop(_name(where, wanted), None)
        if columns is not None:
            columns.close()

    def _give_up(self, where: str, error: NoLocalCopy) -> None:
        if where not in self._without:
            _LOG.warning("%s: the dataset is read from where it is stored in each epoch", error)
        self._without.add(where)


def _name(where: str, wanted: PassToCopy) -> tuple[str, str]:
    """Where, and which rows in which form."""
    return where, json.dumps([wanted.key, wanted.spec.to_json()])


def _environment(where: str) -> dict[str, str]:
    return dict(os.environ) if where == "auto" else {VARIABLES[0]: where}


def _close(held: dict[tuple[str, str], GrowingColumns]) -> None:
    for columns in held.values():
        columns.close()
