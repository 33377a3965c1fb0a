"""The work of an upload: every epoch's batches, packed and sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from deeptool.catalog.events import Begun
from deeptool.codec.protocol import Codec
from deeptool.codec.records import MAX_BYTES, pack
from deeptool.codec.values import Leaves
from deeptool.producer.data_topic import FRAMING_BYTES
from deeptool.producer.disk_space import DiskSpaceCheck
from deeptool.producer.pipeline_samples import PipelineSamples
from deeptool.producer.sender import Sender
from deeptool.progress import Listener, Progress

_REPORT_SECONDS = 0.1
# A reader that follows the upload waits no longer than this for the samples of a slow pipeline.
# Records that come no more often than this cost a later reader next to nothing.
LINGER_SECONDS = 2.0


@dataclass
class UploadWork:
    """One upload's pipeline, and how it is cut into records.

    Attributes
    ----------
    samples : PipelineSamples
    codec : Codec
    epochs : int
    expected : int or None
        About how many samples there are to come, over all epochs.
    record_bytes : int
        About the size of a record, before compression.
    max_message_bytes : int
        The topic's limit, of messages as they are sent.
    compression : str
    listener : Listener
    """

    samples: PipelineSamples
    codec: Codec
    epochs: int
    expected: int | None
    record_bytes: int
    max_message_bytes: int
    compression: str
    listener: Listener
    _began: float = field(default_factory=time.monotonic)
    _reported: float = 0.0
    _epoch: int = 0

    def run(self, begun: Begun, sender: Sender, space: DiskSpaceCheck) -> None:
        """Send everything, and return when all of it is acknowledged.

        Raises
        ------
        WorkError
            The pipeline failed, a record was rejected, the disk is too small, or another upload
            took over.
        """
        room = self.max_message_bytes - FRAMING_BYTES
        # A compressed record may be larger before: then the broker has the last word.
        max_bytes = min(MAX_BYTES, room) if self.compression == "none" else MAX_BYTES
        for epoch in range(self.epochs):
            self._epoch = epoch
            records = pack(
                self.codec,
                self._watched(self.samples.batches(epoch), sender),
                upload=begun.upload,
                epoch=epoch,
                target_bytes=min(self.record_bytes, room),
                max_bytes=max_bytes,
                linger_seconds=LINGER_SECONDS,
            )
            for record in records:
                sender.send(epoch, record)
                space.add_record(record)
        sender.wait()

    def report(self, state: str, sender: Sender) -> None:
        """Call the listener with the progress."""
        ledger, seconds = sender.ledger, time.monotonic() - self._began
        self.listener(
            Progress(
                state,
                self._epoch,
                self.epochs,
                ledger.samples,
                self.expected,
                ledger.bytes,
                seconds,
            )
        )

    def _watched(self, batches: Iterator[Leaves], sender: Sender) -> Iterator[Leaves]:
        """The same batches. Many make one record: progress and failures must not wait for it."""
        for batch in batches:
            yield batch
            now = time.monotonic()
            if now - self._reported >= _REPORT_SECONDS:
                self._reported = now
                sender.serve()
                self.report("running", sender)
