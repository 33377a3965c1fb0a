"""An upload says that it lives, and hears that it lost."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

from catalog_builders import TOPIC, begun, completed

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Event, Progressed
from deeptool.catalog.fold import fold
from deeptool.errors import WorkError
from deeptool.producer.heartbeat import Heartbeat, lost_topic


class FakeLog:
    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.failures = 0
        self.changed = threading.Event()

    def append(self, event: Event) -> dict[str, Any]:
        if self.failures:
            self.failures -= 1
            raise WorkError("the broker is away")
        self.events.append(event)
        self.changed.set()
        return fold(self.events)


def heart(log: FakeLog, mine: Any, errors: list[WorkError]) -> Heartbeat:
    return Heartbeat(cast(CatalogLog, log), mine, lambda: (7, 70), errors.append)


def test_it_beats_more_often_than_promised() -> None:
    mine = begun("mine", heartbeat_seconds=0.2)
    log, errors = FakeLog(mine), []
    beating = heart(log, mine, errors)
    beating.start()
    time.sleep(1.05)
    assert beating.stop()
    beats = [event for event in log.events if isinstance(event, Progressed)]
    assert 5 <= len(beats) <= 7
    assert [beat.beat for beat in beats] == list(range(1, len(beats) + 1))
    assert (beats[0].samples, beats[0].bytes, beats[0].topic) == (7, 70, TOPIC)
    assert errors == []
    count = len(log.events)
    time.sleep(0.3)
    assert len(log.events) == count


def test_a_broker_that_is_away_is_no_loss() -> None:
    mine = begun("mine", heartbeat_seconds=0.05)
    log, errors = FakeLog(mine), []
    log.failures = 3
    beating = heart(log, mine, errors)
    beating.start()
    assert log.changed.wait(5)
    assert beating.stop()
    assert errors == []


def test_a_loss_is_told_once_and_named() -> None:
    mine = begun("mine", heartbeat_seconds=0.05, owner="me")
    other = begun("other", takes_over="mine", owner="node7:123")
    log, errors = FakeLog(mine, other), []
    beating = heart(log, mine, errors)
    beating.start()
    beating.thread.join(5)
    assert not beating.thread.is_alive()
    (error,) = errors
    assert "node7:123" in str(error)
    assert "another upload took over" in str(error)


def test_who_has_it_now() -> None:
    mine = begun("mine")
    taken = [mine, begun("other", takes_over="mine", owner="them")]
    assert "them" in str(lost_topic(fold(taken), mine))
    assert "them" in str(lost_topic(fold([*taken, completed("other")]), mine))
    assert "no upload" in str(lost_topic({}, mine))
