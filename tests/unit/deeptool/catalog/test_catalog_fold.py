"""The fold: every reader agrees, whoever wrote in whatever order, compacted or not."""

from __future__ import annotations

from collections.abc import Sequence

from catalog_builders import TOPIC, begun, completed, deleted, failed, progress
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.catalog import events
from deeptool.catalog.events import Completed, Event
from deeptool.catalog.fold import TopicState, Upload, apply_event, fold

UPLOADS = ["a", "b", "c", "d"]


def state(*log: Event) -> TopicState:
    return fold(log).get(TOPIC, TopicState())


def ids(seen: TopicState) -> tuple[str | None, str | None, str | None]:
    """Who is current, who is pending, who gave up."""
    current, pending, gave_up = (
        upload.id if upload else None for upload in (seen.current, seen.pending, seen.gave_up)
    )
    return current, pending, gave_up


# One after another


def test_an_upload_from_its_beginning_to_its_end() -> None:
    assert ids(state()) == (None, None, None)
    pending = state(begun("a"), progress("a", samples=3))
    assert ids(pending) == (None, "a", None)
    assert pending.pending is not None
    assert (pending.pending.samples, pending.pending.bytes) == (3, 30)
    done = state(begun("a"), progress("a", samples=3), completed("a", samples=(7, 8)))
    assert ids(done) == ("a", None, None)
    assert done.current == Upload(begun("a"), completed=completed("a", samples=(7, 8)))
    assert (done.current.samples, done.current.bytes) == (15, 150)
    assert ids(state(begun("a"), completed("a"), deleted("a"))) == (None, None, None)


def test_one_upload_at_a_time() -> None:
    assert ids(state(begun("a"), begun("b"))) == (None, "a", None)
    assert ids(state(begun("a"), begun("b"), completed("b"))) == (None, "a", None)
    assert ids(state(begun("a"), begun("b"), completed("b"), completed("a"))) == ("a", None, None)


def test_taking_over() -> None:
    taken = [begun("a"), begun("b", takes_over="a")]
    assert ids(state(*taken)) == (None, "b", None)
    # The zombie goes on writing, and even ends.
    assert ids(state(*taken, progress("a"), completed("a"), failed("a"))) == (None, "b", None)
    assert ids(state(*taken, completed("a"), completed("b"))) == ("b", None, None)
    # Two take over the same one at once: the first does.
    assert ids(state(*taken, begun("c", takes_over="a"))) == (None, "b", None)
    assert ids(state(*taken, begun("c", takes_over="b"))) == (None, "c", None)
    # It takes over one that ended meanwhile.
    assert ids(state(begun("a"), failed("a"), begun("b", takes_over="a"))) == (None, "b", None)
    assert ids(state(begun("a"), completed("a"), begun("b", takes_over="a"))) == ("a", None, None)


def test_a_complete_upload_is_replaced_only_on_request_and_by_a_complete_one() -> None:
    first = [begun("a"), completed("a")]
    assert ids(state(*first, begun("b"))) == ("a", None, None)
    replacing = [*first, begun("b", replace=True)]
    assert ids(state(*replacing)) == ("a", "b", None)
    assert ids(state(*replacing, failed("b"))) == ("a", None, "b")
    assert ids(state(*replacing, completed("b"))) == ("b", None, None)
    assert ids(state(*replacing, deleted("a"), completed("b"))) == ("b", None, None)
    assert ids(state(*replacing, deleted("b"))) == ("a", "b", None)


def test_a_failure_is_kept_until_another_upload_begins() -> None:
    broken = state(begun("a"), progress("a"), failed("a"))
    assert ids(broken) == (None, None, "a")
    assert broken.failed == failed("a")
    assert broken.gave_up is not None
    assert broken.gave_up.begun == begun("a")
    assert ids(state(begun("a"), failed("a"), begun("b"))) == (None, "b", None)


def test_topics_are_apart() -> None:
    catalog = fold([begun("a"), begun("b", proc_id=1), completed("a"), failed("b", "s.1.train")])
    assert {topic: ids(seen) for topic, seen in catalog.items()} == {
        "s.0.train": ("a", None, None),
        "s.1.train": (None, None, "b"),
    }


def test_the_first_offset_of_an_upload() -> None:
    runs = {0: ((40, 50), (70, 80)), 1: ((9, 10),)}
    upload = state(begun("a", start={0: 30, 1: 5, 2: 8}), completed("a", runs=runs)).current
    assert upload is not None
    assert [upload.first_offset(partition) for partition in range(4)] == [40, 9, 8, 0]


# Any order, any number of writers

any_event = st.one_of(
    st.builds(
        lambda upload, over, replacing: begun(upload, takes_over=over, replace=replacing),
        st.sampled_from(UPLOADS),
        st.none() | st.sampled_from(UPLOADS),
        st.booleans(),
    ),
    st.builds(progress, st.sampled_from(UPLOADS), st.integers(0, 9)),
    st.builds(completed, st.sampled_from(UPLOADS)),
    st.builds(failed, st.sampled_from(UPLOADS)),
    st.builds(deleted, st.sampled_from(UPLOADS)),
)


@st.composite
def written(draw: st.DrawFn) -> list[Event]:
    """A log as producers write it, each in its own order: zombies, requeues, races, deletions."""
    remaining: dict[str, list[Event]] = {}
    for upload in UPLOADS:
        over = draw(st.none() | st.sampled_from(UPLOADS))
        life: list[Event] = [begun(upload, takes_over=over, replace=draw(st.booleans()))]
        life += [progress(upload, beat) for beat in range(draw(st.integers(0, 3)))]
        end = draw(st.sampled_from(["completed", "failed", "killed", "deleted"]))
        if end in ("completed", "deleted"):
            life.append(completed(upload))
        if end == "deleted":
            life.append(deleted(upload))
        if end == "failed":
            life.append(failed(upload))
        # A heartbeat may come in behind the end.
        if draw(st.booleans()):
            life.append(progress(upload, 99))
        remaining[upload] = life
    log: list[Event] = []
    while alive := [upload for upload, life in remaining.items() if life]:
        log.append(remaining[draw(st.sampled_from(alive))].pop(0))
    return log


def compacted(log: Sequence[Event], keep: Sequence[bool]) -> list[Event]:
    """What may be left of a log: records that a later one of the same key follows may go."""
    keys = [events.record_key(event) for event in log]
    return [
        event
        for index, event in enumerate(log)
        if keep[index] or keys[index] not in keys[index + 1 :]
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(any_event, max_size=25), st.lists(st.booleans(), min_size=25, max_size=25))
def test_compaction_at_any_point_changes_nothing(log: list[Event], keep: list[bool]) -> None:
    assert fold(compacted(log, keep)) == fold(log)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(any_event, max_size=20),
    st.lists(any_event, max_size=10),
    st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_nor_does_it_for_what_comes_after(
    before: list[Event], after: list[Event], keep: list[bool]
) -> None:
    assert fold(compacted(before, keep) + after) == fold(before + after)


@settings(max_examples=200, deadline=None)
@given(written(), st.data())
def test_an_event_that_was_appended_twice_is_harmless(
    log: list[Event], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(log) - 1))
    place = data.draw(st.integers(index + 1, len(log)))
    twice = [*log[:place], log[index], *log[place:]]
    assert ids(state(*twice)) == ids(state(*log))


@settings(max_examples=200, deadline=None)
@given(written())
def test_a_dataset_had_the_topic_to_itself_from_its_beginning_to_its_end(log: list[Event]) -> None:
    states = [TopicState()]
    for event in log:
        states.append(apply_event(states[-1], event))
    for index, event in enumerate(log):
        before, after = states[index], states[index + 1]
        if after.current == before.current:
            continue
        if after.current is None:
            assert ids(before)[0] == event.upload
            assert event == deleted(event.upload)
            continue
        winner = after.current
        assert isinstance(event, Completed)
        assert event.upload == winner.id
        assert before.current is None or winner.begun.replace
        beginning = log.index(winner.begun)
        assert {ids(seen)[1] for seen in states[beginning + 1 : index + 1]} == {winner.id}
        # Whoever was pending when it began was taken over by name.
        earlier = states[beginning].pending
        assert earlier is None or winner.begun.takes_over == earlier.id


@settings(deadline=None)
@given(st.lists(any_event, max_size=25), st.integers(0, 25))
def test_reading_in_two_parts_is_reading_at_once(log: list[Event], cut: int) -> None:
    first = fold(log[:cut])
    kept = dict(first)
    assert fold(log[cut:], first) == fold(log)
    assert first == kept


def test_a_progress_behind_the_end_is_forgotten() -> None:
    log = [begun("a"), progress("a", 1), completed("a"), progress("a", 2)]
    assert state(*log) == state(log[0], *log[2:]) == state(*log[:3])
