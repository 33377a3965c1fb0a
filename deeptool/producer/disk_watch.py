"""Ends an upload before it fills a broker's disk: Kafka stops where it cannot write."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeptool.client.connection import Connection
from deeptool.client.log_dirs import LogDir, LogDirs
from deeptool.errors import WorkError
from deeptool.files import read_json

_log = logging.getLogger(__name__)

# Left to the broker: for the catalog, for what it writes to delete, and for other programs.
SPARE_BYTES = 32 << 20
# Between two looks a disk does not lose more than this, by whatever writes there.
_FASTEST = 1 << 30
_MOST_SECONDS = 10.0
_LEAST_SECONDS = 0.25
# A broker that is away for so long is not merely starting again.
_AWAY_SECONDS = 5.0
_REQUEST_SECONDS = 5.0
# Where an embedded broker keeps its log folder and its state, below its own folder.
_EMBEDDED_LOGS, _EMBEDDED_STATE = Path("data", "kafka"), "state.json"

Key = tuple[int, Path]


@dataclass(frozen=True)
class Look:
    """What the brokers said at one time: the folders that keep the topic, by broker and path."""

    at: float
    folders: Mapping[Key, LogDir]

    @classmethod
    def of(cls, folders: Sequence[LogDir], at: float) -> Look:
        return cls(at, {(each.broker, each.path): each for each in folders if each.used})

    def shortest(self, before: Look | None) -> tuple[LogDir | None, int]:
        """The folder with the least space, and what it will have left at a look like the next one.

        Parameters
        ----------
        before : Look or None
            The last one: as much as was written since then may be written until the next.
        """
        found: LogDir | None = None
        least = 0
        for key, folder in self.folders.items():
            earlier = before.folders.get(key) if before else None
            left = folder.free - max(0, earlier.free - folder.free if earlier else 0)
            if found is None or left < least:
                found, least = folder, left
        return found, least


class DiskWatch:
    """Asks the brokers for their free space during an upload, in a thread of its own.

    Parameters
    ----------
    connection : Connection
    topic : str
    partitions : sequence of int
        Of the topic.
    on_full : callable
        Called once, from the thread, with the error to end the upload with.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        partitions: Sequence[int],
        on_full: Callable[[WorkError], None],
    ) -> None:
        self._topic, self._partitions, self._on_full = topic, partitions, on_full
        self._brokers = LogDirs(connection, _REQUEST_SECONDS)
        self._stop = threading.Event()
        self._last: Look | None = None
        self._before: Look | None = None
        self._away_since: float | None = None
        self._full = False
        self.thread = threading.Thread(target=self._run, name="disk watch", daemon=True)

    @property
    def saw_full_disk(self) -> bool:
        """Whether it ended the upload, and the broker answers still."""
        return self._full and self._away_since is None

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """End the thread at its next look; the connection is closed by it."""
        self._stop.set()

    def _run(self) -> None:
        try:
            while True:
                error = self._look(time.monotonic())
                if error is not None:
                    self._full = True
                    self._on_full(error)
                    return
                if self._stop.wait(self._pause()):
                    return
        finally:
            self._brokers.close()

    def _look(self, now: float) -> WorkError | None:
        """The error to end the upload with, or None where there is room, or nobody says."""
        try:
            folders = self._brokers.ask(self._topic, self._partitions)
        except OSError as error:
            if self._last is None:
                _log.info("%s", error)
                return None
            self._away_since = self._away_since or now
            return self._away(now - self._away_since)
        self._before, self._last, self._away_since = self._last, Look.of(folders, now), None
        folder, left = self._last.shortest(self._before)
        return almost_full(folder) if folder is not None and left < SPARE_BYTES else None

    def _away(self, seconds: float) -> WorkError | None:
        """What is known of a broker that answered earlier: by its folder here, or its last word."""
        if self._last is None:
            return None
        for folder in self._last.folders.values():
            here = free_here(folder.path, self._brokers.cluster_id)
            if here is not None and here < SPARE_BYTES:
                return stopped_full(folder, f"{here:,} bytes are free in {folder.path}")
        shortest, left = self._last.shortest(self._before)
        if shortest is not None and left < 2 * SPARE_BYTES and seconds > _AWAY_SECONDS:
            return stopped_full(
                shortest,
                f"no answer for {seconds:.0f} s; before, {shortest.free:,} bytes were free in"
                f" {shortest.path}",
            )
        return None

    def _pause(self) -> float:
        if self._last is None or not self._last.folders:
            return _MOST_SECONDS
        if self._away_since is not None:
            return 1.0
        _, left = self._last.shortest(None)
        return min(_MOST_SECONDS, max(_LEAST_SECONDS, (left - SPARE_BYTES) / _FASTEST))


def free_here(path: Path, cluster_id: str | None) -> int | None:
    """Bytes free in a broker's folder, 0 where the broker says that it stopped of a full disk.

    None where the folder is not on this machine: one of the same path is another broker's.
    """
    try:
        lines = (path / "meta.properties").read_text(encoding="utf-8").splitlines()
        if cluster_id is None or f"cluster.id={cluster_id}" not in lines:
            return None
        home = embedded_home(path)
        state = read_json(home / _EMBEDDED_STATE) if home else None
        if isinstance(state, Mapping) and state.get("disk_full"):
            return 0
        return shutil.disk_usage(path).free
    except (OSError, ValueError):
        return None


def embedded_home(path: Path) -> Path | None:
    """The folder of the embedded broker that keeps its topics in `path`; None for any other."""
    home = path.parent.parent
    return home if home / _EMBEDDED_LOGS == path else None


def almost_full(folder: LogDir) -> WorkError:
    """The error of an upload that ends before the broker has to."""
    return WorkError(
        f"the disk of broker {folder.broker} is full",
        seen=f"{folder.free:,} bytes are free in {folder.path}",
        valid=f"{SPARE_BYTES:,} bytes, which the broker needs for itself, and room for the upload",
        next_step="free space there (deeptool delete NAME deletes a dataset; deeptool inspect"
        " lists them), store fewer samples (--limit) or epochs, or compress them"
        " (--compression lz4), then upload again; what was stored before is kept",
    )


def stopped_full(folder: LogDir, seen: str) -> WorkError:
    """The error of an upload whose broker has stopped for want of space."""
    home = embedded_home(folder.path)
    start = "start the broker again"
    if home is not None:
        start += f" (deeptool-hpc broker up --dir {home} --detach; broker status says more)"
    return WorkError(
        f"broker {folder.broker} has stopped: its disk is full",
        seen=seen,
        next_step=f"free space there, or {start} and delete datasets (deeptool delete NAME), then"
        " upload again; what was stored before is kept",
    )
