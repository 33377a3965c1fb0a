"""`CatalogLog` folds what it reads, also where reading ends half-way. Its reader is scripted."""

from __future__ import annotations

import pytest
from catalog_builders import TOPIC, begun, completed, progress
from confluent_kafka import KafkaError, KafkaException

from deeptool.catalog import catalog_log, events
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Event
from deeptool.catalog.fold import fold
from deeptool.client.connection import Connection
from deeptool.client.consume import NoRecord, Patience
from deeptool.errors import WorkError

LOG = [begun("a"), progress("a", 1, samples=3), completed("a"), begun("b", replace=True)]


class Message:
    def __init__(self, offset: int, event: Event) -> None:
        self._offset, self._event = offset, event

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return events.record_key(self._event)

    def value(self) -> bytes:
        return events.to_json(self._event)


class ScriptedReader:
    """Gives the events of a log by their offsets, but first what `failures` has for an offset."""

    def __init__(self, log: dict[int, Event], end: int) -> None:
        self.log, self.end, self.failures = log, end, dict[int, NoRecord]()
        self.asked: list[int] = []
        self.gone = True
        self.end_failures: list[KafkaError] = []

    def end_offset(self, partition: int, seconds: float) -> int:
        if self.end_failures:
            raise KafkaException(self.end_failures.pop(0))
        return self.end

    def read_from(self, partition: int, offset: int, patience: Patience) -> Message | NoRecord:
        self.asked.append(offset)
        if offset in self.failures:
            return self.failures.pop(offset)
        later = [place for place in sorted(self.log) if place >= offset]
        return Message(later[0], self.log[later[0]]) if later else NoRecord("end", end=self.end)

    def rest(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> ScriptedReader:
    scripted = ScriptedReader(dict(enumerate(LOG)), len(LOG))
    monkeypatch.setattr(catalog_log, "RecordReader", lambda connection, topic: scripted)
    monkeypatch.setattr(catalog_log.admin, "start_offsets", lambda connection, topic, known: {0: 0})
    monkeypatch.setattr(catalog_log, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(catalog_log, "_SHORT_SECONDS", 0.0)
    monkeypatch.setattr(catalog_log.admin, "is_gone", lambda connection, topic: scripted.gone)
    return scripted


def opened() -> CatalogLog:
    return CatalogLog(Connection(("127.0.0.1:1",)))


def test_what_is_read_is_the_fold_of_the_log(reader: ScriptedReader) -> None:
    with opened() as log:
        reader.end = 2
        assert log.read() == fold(LOG[:2])
        reader.end = len(LOG)
        assert log.read() == log.read() == fold(LOG)
    assert reader.asked == [0, 1, 2, 3]


def test_gaps_that_compaction_left(reader: ScriptedReader) -> None:
    reader.log.pop(1)
    reader.log.pop(3)
    with opened() as log:
        assert log.read() == fold([LOG[0], LOG[2]])
        assert log.read()[TOPIC].current is not None
    assert reader.asked == [0, 1, 3]


def test_an_interrupted_read_is_continued_where_it_ended(reader: ScriptedReader) -> None:
    gone = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    reader.failures[2] = NoRecord("gone", gone)
    with opened() as log:
        with pytest.raises(WorkError, match="can no longer be read"):
            log.read()
        assert log.read() == fold(LOG)
    assert reader.asked == [0, 1, 2, 2, 3]


def test_a_broker_that_starts_again_knows_its_topics_a_moment_later(
    reader: ScriptedReader,
) -> None:
    reader.gone = False
    reader.end_failures = [
        KafkaError(code)
        for code in (
            KafkaError._UNKNOWN_PARTITION,
            KafkaError._TRANSPORT,
            KafkaError._TIMED_OUT,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.NOT_LEADER_FOR_PARTITION,
        )
    ]
    reader.failures[1] = NoRecord("gone", KafkaError(KafkaError._UNKNOWN_TOPIC))
    with opened() as log:
        assert log.read() == fold(LOG)
        reader.gone, reader.end_failures = True, [KafkaError(KafkaError._UNKNOWN_PARTITION)]
        with pytest.raises(WorkError, match="the end of the catalog could not be read"):
            log.read()
        assert log.read() == fold(LOG)


@pytest.mark.parametrize("error", [KafkaError(KafkaError._TRANSPORT), None])
def test_other_trouble_is_waited_out_until_time_is_up(
    reader: ScriptedReader, error: KafkaError | None
) -> None:
    reader.failures[1] = NoRecord("silent", error, silent=True, away=error is not None)
    with opened() as log:
        assert log.read() == fold(LOG)
    late = opened()
    late.read_seconds = -1.0
    reader.failures[0] = NoRecord("silent", error, silent=True)
    with pytest.raises(WorkError, match="did not deliver the catalog"):
        late.read()


def test_a_log_that_became_shorter_is_another_one(reader: ScriptedReader) -> None:
    with opened() as log:
        log.read()
        reader.end = 1
        with pytest.raises(WorkError, match="deleted and created again"):
            log.read()
