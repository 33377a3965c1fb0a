"""Whether a dataset will fit on the brokers' disks."""

from __future__ import annotations

import logging

import pyarrow as pa

from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.client.log_dirs import LogDirs
from deeptool.codec.records import Record
from deeptool.errors import WorkError

_log = logging.getLogger(__name__)

_AFTER_RECORDS = 8
# About what Kafka keeps with a record: its headers and framing.
_RECORD_OVERHEAD = 150


class DiskSpaceCheck:
    """Compares, once the first records are known, what all of them will need with what is free.

    Parameters
    ----------
    connection : Connection
    topic : str
    compression : str
    expected : int or None
        Samples to come, over all epochs; None: nothing is compared.
    """

    def __init__(
        self, connection: Connection, topic: str, compression: str, expected: int | None
    ) -> None:
        self._topic, self._compression, self._expected = topic, compression, expected
        self._samples = self._bytes = self._records = 0
        # Asked before the upload: kafka-python works in a thread that would be charged to the
        # pipeline.
        self.free = free_bytes(connection) if expected else None
        self._copies = _copies(connection, topic) if self.free else {}

    def add_record(self, record: Record) -> None:
        """Take in one more record.

        Raises
        ------
        WorkError
            The dataset will not fit, by the size of its first records.
        """
        if self.free is None or self._expected is None or self._records >= _AFTER_RECORDS:
            return
        self._records += 1
        self._samples += record.count
        self._bytes += _compressed(record, self._compression) + _RECORD_OVERHEAD
        if self._records == _AFTER_RECORDS:
            check_fits(
                self._bytes * self._expected // self._samples,
                self.free,
                self._copies,
                self._topic,
            )


def check_fits(needed: int, free: dict[int, int], copies: dict[int, float], topic: str) -> None:
    """Compare what an upload needs with what is free.

    Parameters
    ----------
    needed : int
        Bytes of all records, each once.
    free : dict of int to int
        Per broker, usable bytes.
    copies : dict of int to float
        Per broker, the part of the records that it keeps.
    topic : str

    Raises
    ------
    WorkError
        A broker has not enough.
    """
    for broker, part in copies.items():
        here = int(needed * part)
        if broker in free and here > free[broker]:
            raise WorkError(
                f"topic {topic} will not fit on the disk of broker {broker}",
                seen=f"about {here:,} bytes are needed, {free[broker]:,} are free",
                next_step="free space there (deeptool delete), store fewer samples (--limit) or "
                "epochs, or compress them (--compression lz4)",
            )


def free_bytes(connection: Connection, timeout: float = 10.0) -> dict[int, int] | None:
    """Usable bytes in each broker's log folders; None where the brokers do not report them."""
    free: dict[int, int] = {}
    try:
        with LogDirs(connection, timeout) as brokers:
            for folder in brokers.ask():
                free[folder.broker] = free.get(folder.broker, 0) + folder.free
    except OSError as error:
        _log.info("%s", error)
    return free or None


def _copies(connection: Connection, topic: str) -> dict[int, float]:
    """Per broker, the part of the topic's records that it keeps."""
    replicas = admin.replicas(connection, topic)
    held: dict[int, float] = {}
    for brokers in replicas.values():
        for broker in brokers:
            held[broker] = held.get(broker, 0.0) + 1 / len(replicas)
    return held


def _compressed(record: Record, compression: str) -> int:
    data = record.value + (record.key or b"")
    if compression == "none":
        return len(data)
    return len(pa.Codec(compression).compress(data, asbytes=True))
