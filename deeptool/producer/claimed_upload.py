"""An upload that has its topic, up to its end in the catalog."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Begun, Completed
from deeptool.producer.commit import commit, give_up
from deeptool.producer.disk_space import DiskSpaceCheck
from deeptool.producer.disk_watch import DiskWatch
from deeptool.producer.heartbeat import Heartbeat
from deeptool.producer.sender import Sender


class RecordsToSend(Protocol):
    """What an upload sends.

    Attributes
    ----------
    expected : int or None
        About how many samples, over all epochs.
    """

    @property
    def expected(self) -> int | None: ...

    def run(self, begun: Begun, sender: Sender, space: DiskSpaceCheck) -> None:
        """Send everything, and return when all of it is acknowledged."""
        ...

    def report(self, state: str, sender: Sender) -> None:
        """Tell how far it is."""
        ...


@dataclass(frozen=True)
class ClaimedUpload:
    """An upload that has its topic: from here on the catalog learns how it ends.

    Attributes
    ----------
    log : CatalogLog
    begun : Begun
        As it was claimed.
    sender : Sender
    work : RecordsToSend
    compression : str
    """

    log: CatalogLog
    begun: Begun
    sender: Sender
    work: RecordsToSend
    compression: str

    def run(
        self,
        finished: Callable[[], Completed],
        on_thread: Callable[[threading.Thread], None] = lambda thread: None,
    ) -> Completed:
        """Send everything, and make it the topic's dataset.

        Parameters
        ----------
        finished : callable
            Says what was stored, once all of it is acknowledged.
        on_thread : callable
            Called with each thread that watches the upload.

        Raises
        ------
        WorkError
            It failed, or another upload took over: the catalog knows it.
        """
        ledger = self.sender.ledger
        heart = Heartbeat(
            self.log, self.begun, lambda: (ledger.samples, ledger.bytes), self.sender.stop
        )
        watch = DiskWatch(
            self.log.connection, self.begun.topic, tuple(self.begun.start), self.sender.stop
        )
        try:
            heart.start()
            watch.start()
            for thread in (heart.thread, watch.thread):
                on_thread(thread)
            space = DiskSpaceCheck(
                self.log.connection, self.begun.topic, self.compression, self.work.expected
            )
            self.work.run(self.begun, self.sender, space)
            completed = finished()
            heart.stop()
            commit(self.log, self.begun, completed)
        except BaseException as error:
            self.sender.stop()
            give_up(self.log, heart, self.begun, error, clean=watch.saw_full_disk)
            self.work.report("failed", self.sender)
            raise
        finally:
            watch.stop()
        self.work.report("complete", self.sender)
        return completed
