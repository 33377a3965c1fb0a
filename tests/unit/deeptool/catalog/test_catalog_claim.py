"""Who gets a topic, decided on a log in memory with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from catalog_builders import TOPIC, begun, completed, failed, progress
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.catalog import claim as claim_module
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import claim, still_mine, upload_owner
from deeptool.catalog.events import Begun, Event
from deeptool.catalog.fold import TopicState, fold
from deeptool.errors import UserError


class Shared:
    """A log in memory, and a clock: what is to happen at some time happens in sleep()."""

    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.now = 0.0
        self.later: list[tuple[float, Event]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1
        self.now += seconds
        while self.later and self.later[0][0] <= self.now:
            self.events.append(self.later.pop(0)[1])


class Client(CatalogLog):
    """One client of it; `meanwhile` is what others do just before it appends."""

    def __init__(self, shared: Shared, meanwhile: Callable[[], Any] | None = None) -> None:
        self.shared, self.meanwhile = shared, meanwhile

    def read(self, *, create: bool = False) -> dict[str, TopicState]:
        return fold(self.shared.events)

    def append(self, event: Event) -> dict[str, TopicState]:
        if self.meanwhile is not None:
            self.meanwhile()
        self.shared.events.append(event)
        return self.read()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Shared:
    made = Shared()
    monkeypatch.setattr(claim_module, "time", made)
    return made


def test_an_empty_topic_is_taken(shared: Shared) -> None:
    assert claim(Client(shared), begun("a")) == begun("a")
    assert still_mine(fold(shared.events), begun("a"))
    assert not still_mine(fold(shared.events), begun("b"))
    assert not still_mine({}, begun("a"))


def test_a_complete_dataset_is_kept_unless_replace_is_said(shared: Shared) -> None:
    shared.events += [begun("a"), completed("a")]
    with pytest.raises(UserError, match="holds a complete dataset") as caught:
        claim(Client(shared), begun("b"))
    assert "--replace" in str(caught.value.next_step)
    assert "7 samples" in str(caught.value.seen)
    assert len(shared.events) == 2
    assert claim(Client(shared), begun("b", replace=True)).takes_over is None


def test_the_same_owner_takes_over_at_once(shared: Shared) -> None:
    shared.events += [begun("a"), progress("a")]
    won = claim(Client(shared), begun("b"))
    assert (won.takes_over, shared.now) == ("a", 0.0)
    assert shared.events[-1] == won


def test_an_upload_that_moves_is_left_alone(shared: Shared) -> None:
    shared.events += [begun("a", owner="somebody"), progress("a", 1)]
    shared.later = [(8.0, progress("a", 2, samples=9))]
    with pytest.raises(UserError, match=f"topic {TOPIC} is being uploaded to") as caught:
        claim(Client(shared), begun("b"))
    assert "9 samples so far by somebody" in str(caught.value.seen)
    assert shared.now < 10
    assert len(shared.events) == 3


def test_a_silent_upload_is_taken_over_after_three_heartbeats(shared: Shared) -> None:
    shared.events += [begun("a", owner="somebody", heartbeat_seconds=7.0), progress("a", 1)]
    lines: list[str] = []
    won = claim(Client(shared), begun("b", heartbeat_seconds=1.0), on_wait=lines.append)
    assert won.takes_over == "a"
    assert 21 <= shared.now < 22
    assert 20 <= len(lines) <= 32
    assert "somebody" in lines[0]
    assert "taken over after 21 s" in lines[0]


def test_an_upload_that_never_moved_is_watched_as_long(shared: Shared) -> None:
    shared.events += [begun("a", owner="somebody")]
    assert claim(Client(shared), begun("b")).takes_over == "a"
    assert 30 <= shared.now < 31


def test_an_upload_that_ends_while_it_is_watched(shared: Shared) -> None:
    shared.events += [begun("a", owner="somebody")]
    shared.later = [(5.0, failed("a"))]
    assert claim(Client(shared), begun("b")).takes_over is None
    shared.events[:] = [begun("a", owner="somebody")]
    shared.later = [(shared.now + 5.0, completed("a"))]
    with pytest.raises(UserError, match="holds a complete dataset"):
        claim(Client(shared), begun("c"))


def test_an_upload_that_is_taken_over_by_another_while_it_is_watched(shared: Shared) -> None:
    shared.events += [begun("a", owner="somebody")]
    shared.later = [(5.0, begun("x", owner="a third", takes_over="a"))]
    with pytest.raises(UserError, match="is being uploaded to") as caught:
        claim(Client(shared), begun("b"))
    assert "a third" in str(caught.value.seen)
    assert shared.now < 7


def test_the_second_of_two_at_once_has_lost(shared: Shared) -> None:
    first: list[Begun] = []
    late = Client(shared, lambda: first.append(claim(Client(shared), begun("a", owner="somebody"))))
    with pytest.raises(UserError, match="another upload began at the same time") as caught:
        claim(late, begun("b"))
    assert "somebody" in str(caught.value.seen)
    assert still_mine(fold(shared.events), first[0])


def test_a_dataset_that_is_completed_just_before(shared: Shared) -> None:
    late = Client(shared, lambda: shared.events.extend([begun("a"), completed("a")]))
    with pytest.raises(UserError, match="holds a complete dataset"):
        claim(late, begun("b"))


def test_one_that_was_taken_over_before_it_could_look(shared: Shared) -> None:
    class Late(Client):
        def append(self, event: Event) -> dict[str, TopicState]:
            super().append(event)
            shared.events.append(begun("z", owner="hasty", takes_over=event.upload))
            return self.read()

    with pytest.raises(UserError, match="was first") as caught:
        claim(Late(shared), begun("a"))
    assert "hasty" in str(caught.value.seen)


@settings(max_examples=200, deadline=None)
@given(st.permutations(list("abcde")), st.lists(st.booleans(), min_size=5, max_size=5))
def test_of_any_number_at_once_exactly_one_wins(names: list[str], replacing: list[bool]) -> None:
    """Each claims between the reading and the appending of the one before it."""
    shared = Shared()
    won: list[Begun] = []
    lost: list[str] = []

    def attempt(index: int) -> None:
        if index == len(names):
            return
        client = Client(shared, lambda: attempt(index + 1))
        asked = begun(names[index], owner=names[index], replace=replacing[index])
        try:
            won.append(claim(client, asked))
        except UserError:
            lost.append(names[index])

    attempt(0)
    assert [w.upload for w in won] == [names[-1]]
    assert set(lost) == set(names[:-1])
    pending = fold(shared.events)[TOPIC].pending
    assert pending is not None
    assert pending.id == names[-1]


def test_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DEEPTOOL_OWNER", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert upload_owner() == upload_owner()
    assert len(upload_owner().split(":")) == 3
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert upload_owner() == "slurm:77_0"
    # Tasks of an array have job ids of their own; the array's id survives a requeue.
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert upload_owner() == "slurm:70_3"
    monkeypatch.setenv("DEEPTOOL_OWNER", "campaign/producer 1")
    assert upload_owner() == "campaign/producer 1"
