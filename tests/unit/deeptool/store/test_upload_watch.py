"""Uploads under way are followed by their ids, through catalogs that change."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from catalog_builders import TOPIC, begun, completed, deleted, failed, progress

from deeptool.catalog.events import Event
from deeptool.catalog.fold import TopicState, fold
from deeptool.catalog.stored import Shard, Stored
from deeptool.errors import WorkError
from deeptool.store import upload_watch
from deeptool.store.upload_watch import UploadWatch

UNDER_WAY = (begun("u1"), progress("u1", beat=1))


class Time:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(upload_watch, "time", made)
    return made


def found(catalog: dict[str, TopicState]) -> Stored:
    pending = catalog[TOPIC].pending
    assert pending is not None
    return Stored("s", "train", (Shard(TOPIC, pending),))


def look(watch: UploadWatch, *events: Event) -> Stored:
    return watch.look(fold([*UNDER_WAY, *events]))


@pytest.fixture
def watch(clock: Time) -> UploadWatch:
    return UploadWatch(found(fold(UNDER_WAY)))


def test_it_completes(watch: UploadWatch) -> None:
    assert not look(watch).complete
    stored = look(watch, completed("u1"))
    assert stored.complete
    assert [shard.upload.id for shard in stored.shards] == ["u1"]
    # What is complete is not looked up again: a later upload changes nothing.
    assert look(watch, completed("u1"), begun("u2", replace=True), completed("u2")) == stored


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([failed("u1")], "failed while it was read"),
        ([failed("u1"), begun("u2")], "no longer the dataset"),
        ([failed("u1"), begun("u2"), completed("u2")], "no longer the dataset"),
        ([begun("u2", takes_over="u1")], "no longer the dataset"),
        ([completed("u1"), begun("u2", replace=True), completed("u2")], "no longer the dataset"),
        ([completed("u1"), deleted("u1")], "no longer the dataset"),
    ],
)
def test_another_upload_is_never_taken_for_it(
    watch: UploadWatch, events: Sequence[Event], text: str
) -> None:
    with pytest.raises(WorkError, match=text):
        look(watch, *events)
    assert [shard.upload.id for shard in watch.stored.shards] == ["u1"]


def test_one_that_goes_silent_is_lost(watch: UploadWatch, clock: Time) -> None:
    look(watch)
    clock.now += 25
    look(watch)
    look(watch, progress("u1", beat=2))
    clock.now += 30
    look(watch, progress("u1", beat=2))
    clock.now += 1
    with pytest.raises(WorkError, match="gone silent") as caught:
        look(watch, progress("u1", beat=2))
    assert caught.value.seen == "no heartbeat of me for 31 s"
    assert caught.value.valid == "one every 10 s"
