"""Events come back from their JSON as they were; what is not an event is told apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from catalog_builders import SPEC, begun, completed, deleted, failed, progress
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.catalog import events
from deeptool.catalog.event_frame import seal
from deeptool.catalog.events import Completed, EpochStored, Event
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.errors import UserError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
hparams = st.dictionaries(st.text(max_size=8), json_values, max_size=4)


@st.composite
def epochs(draw: st.DrawFn) -> EpochStored:
    edges = st.lists(st.integers(0, 2**40), unique=True, min_size=2, max_size=8).map(sorted)
    runs = {
        partition: tuple(zip(cuts[::2], cuts[1::2], strict=False))
        for partition, cuts in draw(
            st.dictionaries(st.integers(0, 99), edges, min_size=1, max_size=3)
        ).items()
    }
    records = sum(stop - start for pieces in runs.values() for start, stop in pieces)
    hexes = st.text("0123456789abcdef", max_size=64)
    return EpochStored(
        records + draw(st.integers(0, 2**50)),
        records,
        draw(st.integers(0, 2**50)),
        runs,
        draw(st.dictionaries(st.integers(0, 99), hexes, max_size=3)),
    )


@settings(deadline=None)
@given(hparams, hparams, st.dictionaries(st.integers(0, 99), st.integers(0, 2**50)))
def test_begun_comes_back_as_it_was(
    one: dict[str, object], other: dict[str, object], start: dict[int, int]
) -> None:
    spec = Spec({"a": Leaf("string", (None, None), 1), "b": (SPEC.structure, Leaf("bool", (3,)))})
    event = begun("u", hparams=one, data_hparams=other, start=start, element_spec=spec)
    assert events.from_json(events.to_json(event)) == event


@settings(deadline=None)
@given(st.lists(epochs(), min_size=1, max_size=3).map(tuple), hparams)
def test_completed_comes_back_as_it_was(
    stored: tuple[EpochStored, ...], data_hparams: dict[str, object]
) -> None:
    event = Completed("s.0.train", "u", stored, data_hparams, 1.5, 2.5, None, 3.0)
    assert events.from_json(events.to_json(event)) == event


@pytest.mark.parametrize("event", [progress("u"), failed("u"), deleted("u")])
def test_the_small_ones_come_back_as_they_were(event: Event) -> None:
    assert events.from_json(events.to_json(event)) == event


def test_numpy_hparams_are_kept_as_plain_values() -> None:
    event = begun("u", hparams={"lr": np.float32(0.5), "sizes": np.arange(3), "on": np.bool_(True)})
    back = events.from_json(events.to_json(event))
    assert isinstance(back, events.Begun)
    assert back.hparams == {"lr": 0.5, "sizes": [0, 1, 2], "on": True}


def test_an_hparam_that_json_has_no_word_for_is_the_users() -> None:
    with pytest.raises(UserError, match="cannot keep these hparams") as caught:
        events.to_json(begun("u", hparams={"f": {1, 2}}))
    assert "{1, 2} is a set" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b'"text"',
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "event": "unheard of", "topic": "t"}',
        b'{"version": 1, "event": "deleted", "topic": "t"}',
        b'{"version": 1, "event": "completed", "topic": "t", "upload": "u", "epochs": [1]}',
        b'{"event": "deleted", "topic": "t", "upload": "u", "time": 1}',
    ],
)
def test_a_strangers_record_is_no_event(data: bytes) -> None:
    assert events.from_json(data) is None


def test_fields_of_a_later_release_are_no_obstacle() -> None:
    values = {**json.loads(events.to_json(deleted("u"))), "who": "a later release"}
    values.pop("crc")
    assert events.from_json(json.dumps(values).encode()) == deleted("u")
    assert events.from_json(seal(json.dumps(values).encode())) == deleted("u")


def test_another_version_is_not_passed_over() -> None:
    values = {**json.loads(events.to_json(deleted("u"))), "version": 2}
    values.pop("crc")
    with pytest.raises(UserError, match="another version of deeptool"):
        events.from_json(seal(json.dumps(values).encode()))
    # Every deeptool with another version writes a CRC: without one, it is a stranger's.
    assert events.from_json(json.dumps(values).encode()) is None


def test_what_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(UserError, match="cannot keep this event 'begun'") as caught:
        events.to_json(begun("u", heartbeat_seconds=1e300))
    assert "heartbeat_seconds is 1e+300, not in 0.001 to 600" in str(caught.value)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UserError, match="the catalog cannot keep"):
        events.to_json(begun("u", hparams={"deep": deep}))


def test_compaction_can_tell_only_progress_apart_from_itself() -> None:
    assert events.record_key(progress("u", 1)) == events.record_key(progress("u", 2))
    assert events.record_key(progress("u")) != events.record_key(progress("v"))
    for event in (begun("u"), completed("u"), failed("u"), deleted("u")):
        assert events.record_key(event) != events.record_key(event)
