"""The catalog's log on a real broker, written and read by many at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from brokers import OwnBroker
from confluent_kafka import Producer
from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient

from deeptool.catalog import catalog_log
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import claim, clean_up, still_mine
from deeptool.catalog.events import Begun, Completed, Deleted, EpochStored, Failed, Progressed
from deeptool.catalog.fold import TopicState
from deeptool.client import admin
from deeptool.client.connection import Connection, connect
from deeptool.client.topic_names import CATALOG_TOPIC, topic_name
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.errors import UserError, WorkError
from hpc.broker import properties

pytestmark = pytest.mark.broker
SOAK = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.fixture
def connection(broker: str) -> Connection:
    return connect(broker)


@pytest.fixture
def log(connection: Connection) -> Iterator[CatalogLog]:
    with CatalogLog(connection) as opened:
        yield opened


def begun(session: str, upload: str, **other: Any) -> Begun:
    values: dict[str, Any] = {
        "topic": topic_name(session, 0, "train"),
        "upload": f"{session}-{upload}",
        "owner": upload,
        "session": session,
        "proc_id": 0,
        "num_procs": 1,
        "split": "train",
        "codec": "arrow",
        "element_spec": Spec(Leaf("float32", (None, 2))),
        "batch_size": 4,
        "hparams": {},
        "data_hparams": {},
        "settings_sha256": None,
        "raw_data": None,
        "heartbeat_seconds": 0.5,
        "start": {},
        "time": time.time(),
    }
    return Begun(**{**values, **other})


def completed(start: Begun, runs: Mapping[int, tuple[tuple[int, int], ...]]) -> Completed:
    records = sum(stop - start for pieces in runs.values() for start, stop in pieces)
    epoch = EpochStored(7 * records, records, 70, runs, {})
    return Completed(start.topic, start.upload, (epoch,), {}, 1.0, 1.0, 1.0, time.time())


def failed(start: Begun) -> Failed:
    return Failed(start.topic, start.upload, "it broke", time.time())


def beat(start: Begun, number: int) -> Progressed:
    return Progressed(start.topic, start.upload, number, number, number, time.time())


def fill(connection: Connection, topic: str, counts: Mapping[int, int]) -> None:
    producer = Producer(connection.config({"linger.ms": 1}))
    for partition, count in counts.items():
        for _ in range(count):
            producer.produce(topic, b"record", partition=partition)
    assert producer.flush(30) == 0


# One after another


def test_every_reader_sees_what_was_appended(
    connection: Connection, log: CatalogLog, session_name: str
) -> None:
    start = begun(session_name, "a")
    with CatalogLog(connection) as other:
        other.read(create=True)
        assert log.append(start)[start.topic].pending is not None
        assert other.read()[start.topic] == log.read()[start.topic]
        log.append(beat(start, 3))
        seen = other.read()[start.topic].pending
        assert seen is not None
        assert seen.samples == 3
        end = completed(start, {0: ((0, 1),)})
        assert other.append(end)[start.topic].current is not None
        current = log.read()[start.topic].current
        assert current is not None
        assert (current.begun, current.completed) == (start, end)
    with CatalogLog(connection) as late:
        assert late.read()[start.topic] == log.read()[start.topic]


def test_reading_again_reads_the_tail_only(
    log: CatalogLog, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = begun(session_name, "a")
    log.append(start)
    read = []
    original = catalog_log.events.read_record
    monkeypatch.setattr(
        catalog_log.events, "read_record", lambda *of: read.append(of[2]) or original(*of)
    )
    log.read()
    assert read == []
    log.append(beat(start, 1))
    assert [json.loads(data)["beat"] for data in read] == [1]


def test_an_independent_client_sees_the_events(
    broker: str, connection: Connection, log: CatalogLog, session_name: str
) -> None:
    start = begun(session_name, "a")
    log.append(start)
    log.append(completed(start, {0: ((0, 1),)}))
    settings = admin.topic_config(connection, CATALOG_TOPIC)
    assert settings["cleanup.policy"] == "compact"
    assert settings["retention.ms"] == settings["retention.bytes"] == "-1"
    assert int(settings["max.message.bytes"]) == 64 << 20
    assert admin.partitions(connection, CATALOG_TOPIC) == (0,)
    consumer = KafkaConsumer(
        CATALOG_TOPIC,
        bootstrap_servers=broker,
        auto_offset_reset="earliest",
        consumer_timeout_ms=2000,
    )
    mine = [record for record in consumer if record.key.startswith(start.topic.encode() + b"/")]
    consumer.close()
    values = [json.loads(record.value) for record in mine]
    assert [value["event"] for value in values] == ["begun", "completed"]
    assert {value["upload"] for value in values} == {start.upload}
    assert all(value["version"] == 1 for value in values)


def test_what_others_write_there_is_passed_over(
    connection: Connection, log: CatalogLog, session_name: str
) -> None:
    start = begun(session_name, "a")
    log.append(start)
    producer = Producer(connection.config())
    for key, value in ((b"k", b"\xff\x00"), (b"k", None), (b"k", b'{"version": 1}')):
        producer.produce(CATALOG_TOPIC, value, key)
    assert producer.flush(30) == 0
    assert log.append(beat(start, 1))[start.topic].pending is not None
    with CatalogLog(connection) as late:
        assert late.read()[start.topic] == log.read()[start.topic]


# At once


@pytest.mark.parametrize("rounds", [4, pytest.param(200, marks=SOAK)])
def test_of_several_claims_at_once_exactly_one_wins(
    connection: Connection, session_name: str, rounds: int
) -> None:
    writers = 5
    for number in range(rounds):
        session = f"{session_name}-{number}"
        together = threading.Barrier(writers)
        won: list[Begun] = []
        lost: list[UserError] = []
        others: list[BaseException] = []

        def attempt(index: int) -> None:
            try:
                with CatalogLog(connection) as log:
                    log.read(create=True)
                    start = begun(session, f"{index}", heartbeat_seconds=60.0)  # noqa: B023
                    together.wait(30)  # noqa: B023
                    won.append(claim(log, start))  # noqa: B023
                    log.append(beat(start, 1))
            except UserError as error:
                lost.append(error)  # noqa: B023
            except BaseException as error:
                others.append(error)  # noqa: B023

        threads = [threading.Thread(target=attempt, args=(n,)) for n in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert others == []
        assert (len(won), len(lost)) == (1, writers - 1)
        assert all(f"by {won[0].owner} " in str(error.seen) for error in lost)
        with CatalogLog(connection) as log:
            assert still_mine(log.read(), won[0])


@pytest.mark.timed
def test_a_live_upload_is_left_alone_and_a_silent_one_is_taken_over(
    connection: Connection, log: CatalogLog, session_name: str
) -> None:
    first = claim(log, begun(session_name, "first", heartbeat_seconds=1.0))
    second = begun(session_name, "second")
    stop = threading.Event()

    def live() -> None:
        with CatalogLog(connection) as its_own:
            number = 0
            while not stop.wait(0.5):
                number += 1
                its_own.append(beat(first, number))

    heart = threading.Thread(target=live)
    heart.start()
    try:
        with pytest.raises(UserError, match="is being uploaded to") as caught:
            claim(log, second)
        assert "by first" in str(caught.value.seen)
    finally:
        stop.set()
        heart.join(30)
    lines: list[str] = []
    began = time.monotonic()
    won = claim(log, second, on_wait=lines.append)
    assert 3.0 <= time.monotonic() - began < 10
    assert won.takes_over == first.upload
    assert "by first" in lines[0]
    # The first was only asleep.
    catalog = log.append(completed(first, {0: ((0, 1),)}))
    assert not still_mine(catalog, first)
    assert still_mine(catalog, second)
    assert catalog[first.topic].current is None


def test_one_log_serves_several_threads(log: CatalogLog, session_name: str) -> None:
    starts = [
        begun(session_name, str(n), topic=topic_name(session_name, n, "train"), proc_id=n)
        for n in range(4)
    ]

    def work(start: Begun) -> None:
        log.append(start)
        for number in range(10):
            log.append(beat(start, number))

    threads = [threading.Thread(target=work, args=(start,)) for start in starts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for start in starts:
        pending = log.read()[start.topic].pending
        assert pending is not None
        assert (pending.id, pending.samples) == (start.upload, 9)


# Cleaning up


@pytest.fixture
def topic(connection: Connection, session_name: str) -> str:
    name = topic_name(session_name, 0, "train")
    admin.create_topic(connection, name, partitions=2, config={})
    return name


def upload(
    connection: Connection, log: CatalogLog, start: Begun, counts: Mapping[int, int]
) -> tuple[Begun, Completed]:
    """Claim, write so many records to each partition; the commit is left to the caller."""
    ends = admin.end_offsets(connection, start.topic)
    start = claim(log, replace(start, start=ends))
    fill(connection, start.topic, counts)
    runs = {p: ((ends[p], ends[p] + count),) for p, count in counts.items() if count}
    return start, completed(start, runs)


def starts(connection: Connection, topic: str) -> list[int]:
    return list(admin.start_offsets(connection, topic).values())


def test_what_belongs_to_no_dataset_is_deleted(
    connection: Connection, log: CatalogLog, topic: str, session_name: str
) -> None:
    first, _ = upload(connection, log, begun(session_name, "killed"), {0: 3, 1: 2})
    # Nothing of an upload under way, ...
    assert clean_up(connection, log, topic) == 0
    log.append(failed(first))
    second, commit = upload(connection, log, begun(session_name, "good"), {0: 4})
    # ... but what was there when it began.
    assert clean_up(connection, log, topic) == 2
    assert starts(connection, topic) == [3, 2]
    log.append(commit)
    assert clean_up(connection, log, topic) == 0
    # A replacement under way: both stay.
    replacing = begun(session_name, "better", replace=True)
    third, commit = upload(connection, log, replacing, {0: 1, 1: 5})
    assert clean_up(connection, log, topic) == 0
    assert starts(connection, topic) == [3, 2]
    log.append(commit)
    assert clean_up(connection, log, topic) == 1
    assert starts(connection, topic) == [7, 2]
    assert clean_up(connection, log, topic) == 0
    assert admin.end_offsets(connection, topic) == {0: 8, 1: 7}
    log.append(Deleted(topic, third.upload, time.time()))
    assert clean_up(connection, log, topic) == 2
    # Nothing is wanted any more: a record was written behind them, to free their segments.
    assert starts(connection, topic) == [9, 8]
    assert admin.end_offsets(connection, topic) == {0: 9, 1: 8}
    assert clean_up(connection, log, topic) == 0
    assert second.upload != third.upload


def test_records_that_come_while_it_works_are_kept(
    connection: Connection,
    log: CatalogLog,
    topic: str,
    session_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another producer begins and writes after the ends were read, before the catalog is."""
    fill(connection, topic, {0: 2})

    class Late(CatalogLog):
        def read(self, *, create: bool = False) -> dict[str, TopicState]:
            upload(connection, log, begun(session_name, "hasty"), {0: 3, 1: 1})
            return log.read()

    assert clean_up(connection, Late(connection), topic) == 1
    assert starts(connection, topic) == [2, 0]
    assert admin.end_offsets(connection, topic) == {0: 5, 1: 1}


# Trouble


def test_a_catalog_of_its_own(own_broker: OwnBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that would disturb others: no catalog, a large one, a compacted one, a lost one."""
    plain = properties.broker_properties
    eager = properties.java_properties({"log.cleaner.backoff.ms": 200})
    monkeypatch.setattr(
        properties,
        "broker_properties",
        lambda node, limits, renew: plain(node, limits, renew) + eager,
    )
    server = own_broker("kraft")
    connection = connect(server.bootstrap)
    with CatalogLog(connection) as early:
        assert early.read() == {}
        assert CATALOG_TOPIC not in admin.topics(connection)
        assert early.read(create=True) == {}
        assert CATALOG_TOPIC in admin.topics(connection)

        large = begun("large", "a")
        early.append(large)
        runs = {p: tuple((i, i + 1) for i in range(p, 200_000, 7)) for p in range(7)}
        early.append(completed(large, runs))

        small = begun("small", "b")
        early.append(small)
        admin.alter_topic_config(
            connection,
            CATALOG_TOPIC,
            {"segment.ms": "50", "min.cleanable.dirty.ratio": "0", "max.compaction.lag.ms": "50"},
        )
        for number in range(60):
            early.append(beat(small, number))
        time.sleep(0.1)
        early.append(beat(small, 60))
        deadline = time.monotonic() + 60
        while (left := records(server.bootstrap)) > 30:
            assert time.monotonic() < deadline, f"{left} records, not compacted"
            time.sleep(1)
        assert left >= 4
        with CatalogLog(connection) as late:
            assert late.read() == early.read()
            assert late.append(beat(small, 61)) == early.read()
            current = late.read()[large.topic].current
            assert current is not None
            assert current.completed == completed_like(current.completed, runs)
            pending = late.read()[small.topic].pending
            assert pending is not None
            assert pending.samples == 61

        # A broker that is away.
        monkeypatch.setattr(admin, "REQUEST_SECONDS", 2.0)
        monkeypatch.setattr(early, "append_seconds", 2.0)
        monkeypatch.setattr(early, "read_seconds", 2.0)
        server.kill()
        with CatalogLog(connection) as other, pytest.raises(WorkError):
            other.read()
        with pytest.raises(WorkError, match="could not be read"):
            early.read()
        with pytest.raises(WorkError, match=r"event 'progress' of topic .* was not appended"):
            early.append(beat(small, 62))
        server.restart()
        monkeypatch.undo()
        pending = early.append(beat(small, 63))[small.topic].pending
        assert pending is not None
        assert pending.samples == 63

        other = KafkaAdminClient(bootstrap_servers=server.bootstrap)
        other.delete_topics([CATALOG_TOPIC])
        other.close()
        early.read_seconds = 5.0
        with pytest.raises(WorkError, match=r"can no longer be read|end of the catalog"):
            early.read()
        with CatalogLog(connection) as anew:
            assert list(anew.append(small)) == [small.topic]
        with pytest.raises(WorkError, match="deleted and created again"):
            early.read()


def completed_like(event: Completed | None, runs: Any) -> Completed:
    assert event is not None
    records = sum(len(pieces) for pieces in runs.values())
    return replace(event, epochs=(EpochStored(7 * records, records, 70, runs, {}),))


def records(address: str) -> int:
    """How many records there are in the catalog, whatever its offsets say."""
    consumer = KafkaConsumer(
        CATALOG_TOPIC,
        bootstrap_servers=address,
        auto_offset_reset="earliest",
        consumer_timeout_ms=1000,
    )
    count = sum(1 for _ in consumer)
    consumer.close()
    return count
