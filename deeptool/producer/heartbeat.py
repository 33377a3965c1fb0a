"""Tells the catalog that an upload is alive, and learns from it whether another took over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import still_mine
from deeptool.catalog.events import Begun, Progressed
from deeptool.catalog.fold import Catalog, TopicState
from deeptool.errors import DeeptoolError, WorkError

_log = logging.getLogger(__name__)

# Of the promised span: an append takes time, too.
_SHARE = 0.75


class Heartbeat:
    """Appends `Progressed` at least once in each span of `Begun.heartbeat_seconds`.

    The log is this thread's own from `start` to `stop`.

    Parameters
    ----------
    log : CatalogLog
    begun : Begun
    counts : callable
        Returns samples and bytes acknowledged so far.
    on_lost : callable
        Called once, from this thread, with the error that says who took over.
    """

    def __init__(
        self,
        log: CatalogLog,
        begun: Begun,
        counts: Callable[[], tuple[int, int]],
        on_lost: Callable[[WorkError], None],
    ) -> None:
        self._log, self._begun, self._counts, self._on_lost = log, begun, counts, on_lost
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self, timeout: float = 60.0) -> bool:
        """End the thread; False where it still waits for the broker after `timeout` seconds."""
        self._stop.set()
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def _run(self) -> None:
        beat = 0
        while not self._stop.wait(_SHARE * self._begun.heartbeat_seconds):
            beat += 1
            samples, size = self._counts()
            event = Progressed(
                self._begun.topic, self._begun.upload, beat, samples, size, time.time()
            )
            try:
                catalog = self._log.append(event)
            except DeeptoolError as error:
                # The broker is away: the records' own time limit decides how long to wait.
                _log.info("no heartbeat: %s", error)
                continue
            if not still_mine(catalog, self._begun):
                self._on_lost(lost_topic(catalog, self._begun))
                return


def lost_topic(catalog: Catalog, begun: Begun) -> WorkError:
    """The error of an upload that lost its topic, naming who has it now."""
    state = catalog.get(begun.topic, TopicState())
    holder = state.pending or state.current
    return WorkError(
        f"another upload took over topic {begun.topic}",
        seen=f"owner {holder.begun.owner}, upload {holder.id}" if holder else "no upload",
        valid=f"owner {begun.owner}, upload {begun.upload}",
        next_step="run only one producer per topic at a time",
    )
