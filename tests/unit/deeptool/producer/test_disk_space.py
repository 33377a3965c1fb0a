"""What an upload needs against what is free."""

from __future__ import annotations

import numpy as np
import pytest

from deeptool.client.connection import Connection
from deeptool.codec.records import Record
from deeptool.errors import WorkError
from deeptool.producer import disk_space as space
from deeptool.producer.disk_space import DiskSpaceCheck, check_fits


def test_each_broker_is_looked_at_for_its_own_part() -> None:
    check_fits(1000, {0: 500, 1: 500}, {0: 0.5, 1: 0.5}, "t")
    # Replicated twice on both: everything is on each.
    with pytest.raises(WorkError, match="broker 1") as caught:
        check_fits(1000, {0: 1000, 1: 999}, {0: 1.0, 1: 1.0}, "t")
    assert "about 1,000 bytes are needed, 999 are free" in str(caught.value)
    # A broker that does not tell is not held against.
    check_fits(1000, {0: 1000}, {0: 0.5, 1: 0.5}, "t")


def made(
    monkeypatch: pytest.MonkeyPatch, free: int, compression: str, expected: int
) -> DiskSpaceCheck:
    monkeypatch.setattr(space, "free_bytes", lambda connection: {0: free})
    monkeypatch.setattr(space, "_copies", lambda connection, topic: {0: 1.0})
    return DiskSpaceCheck(Connection(("s:1",)), "t", compression, expected)


@pytest.mark.parametrize(("compression", "factor"), [("none", 1.0), ("lz4", 0.1), ("zstd", 0.1)])
def test_the_first_records_tell(
    monkeypatch: pytest.MonkeyPatch, compression: str, factor: float
) -> None:
    # Of 10,000 bytes each, of which a tenth is noise.
    noise = np.random.default_rng(0).bytes(1000)
    record = Record(None, noise + bytes(9000), [], 0, 10, 0)
    needed = 1000 * 10_000 * factor
    enough = made(monkeypatch, int(needed * 1.3), compression, 10_000)
    for _ in range(20):
        enough.add_record(record)
    short = made(monkeypatch, int(needed * 0.95), compression, 10_000)
    for _ in range(7):
        short.add_record(record)
    with pytest.raises(WorkError, match="will not fit"):
        short.add_record(record)


def test_nothing_is_asked_where_nothing_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(connection: Connection) -> None:
        raise AssertionError

    monkeypatch.setattr(space, "free_bytes", asked)
    DiskSpaceCheck(Connection(("s:1",)), "t", "none", None).add_record(
        Record(None, b"", [], 0, 1, 0)
    )


def test_no_answer_is_not_known() -> None:
    assert space.free_bytes(Connection(("127.0.0.1:1",)), timeout=0.5) is None
