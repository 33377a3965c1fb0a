"""A damaged, malformed or strange record of the catalog: named, and what it may concern is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from catalog_builders import TOPIC, begun, completed, deleted, failed, progress
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptool.catalog.bad_record import BadRecord
from deeptool.catalog.datasets import find_dataset
from deeptool.catalog.event_frame import seal
from deeptool.catalog.events import Deleted, Event, read_record, record_key, to_json
from deeptool.catalog.fold import TopicState, fold
from deeptool.errors import UserError

# What the release before CRCs wrote: it stays readable.
EARLIER = [
    (
        "s.0.train/0123/begun/a0f92f3d57494b64937281c62f7c681d",
        '{"version": 1, "event": "begun", "topic": "s.0.train", "upload": "0123", "owner": "me",'
        ' "session": "s", "proc_id": 0, "num_procs": 2, "split": "train", "codec": "arrow",'
        ' "element_spec": {"batched": false, "structure": {"dict": {"a": {"dtype": "string",'
        ' "shape": [null, null], "ragged_rank": 1, "row_splits_dtype": "int64"}, "b": [{"dtype":'
        ' "float32", "shape": [8, 4], "ragged_rank": 0, "row_splits_dtype": "int64"}]}}},'
        ' "batch_size": 4, "hparams": {"lr": 0.1, "n": null, "f": [1, "x"]}, "data_hparams":'
        ' {"f": [1, "x"]}, "settings_sha256": "5555", "raw_data": {"digest": "dddd", "files": 1,'
        ' "bytes": 10, "newest": 1.0}, "heartbeat_seconds": 10.0, "start": {"0": 0, "1": 0},'
        ' "time": 1.0, "takes_over": "u0", "replace": true, "limit": 100, "auto_shard": true}',
    ),
    (
        "s.0.train/0123/progress",
        '{"version": 1, "event": "progress", "topic": "s.0.train", "upload": "0123", "beat": 1,'
        ' "samples": 5, "bytes": 50, "time": 2.0}',
    ),
    (
        "s.0.train/0123/completed/f461b248aaad4f9b8b14bc9806375394",
        '{"version": 1, "event": "completed", "topic": "s.0.train", "upload": "0123", "epochs":'
        ' [{"samples": 7, "records": 1, "bytes": 70, "runs": {"0": [[0, 1]]}, "digests": {"0":'
        ' "aaaa"}}], "data_hparams": {}, "wall_seconds": 3.0, "cpu_seconds": 2.0,'
        ' "pipeline_cpu_seconds": 1.5, "time": 4.0}',
    ),
    (
        "s.0.train/0123/deleted/593c7be70e614db0a91e32e8d25d4d36",
        '{"version": 1, "event": "deleted", "topic": "s.0.train", "upload": "0123", "time": 6.0}',
    ),
]

Pair = tuple[bytes, bytes]


def stored(*events: Event) -> list[Pair]:
    return [(record_key(event), to_json(event)) for event in events]


def read(records: list[Pair]) -> list[Event | BadRecord]:
    return [read_record(offset, *record) for offset, record in enumerate(records)]


def flipped(data: bytes, place: int, bit: int = 0x10) -> bytes:
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


def damaged(record: Pair) -> Pair:
    key, value = record
    return key, flipped(value, len(value) // 2)


def test_events_of_earlier_releases_stay_readable() -> None:
    found = read([(key.encode(), value.encode()) for key, value in EARLIER])
    assert [type(event).__name__ for event in found] == [
        "Begun",
        "Progressed",
        "Completed",
        "Deleted",
    ]
    current = fold(found[:3])[TOPIC].current
    assert current is not None
    assert (current.samples, str(current.begun.element_spec)) == (
        7,
        "{a: ragged string[?, ?], b: (float32[8, 4])}",
    )
    # Their keys say some of it again.
    for word, other in (("s.0.train", "s.1.train"), ("0123", "0124")):
        key, value = EARLIER[2]
        bad = read_record(5, key.encode(), value.replace(word, other).encode())
        assert isinstance(bad, BadRecord)
        assert (bad.topic, bad.upload, bad.event) == (TOPIC, "0123", "completed")


@pytest.mark.parametrize(
    "event", [begun("u"), progress("u"), completed("u"), failed("u"), deleted("u")]
)
def test_any_flipped_bit_is_noticed_and_what_it_concerns_is_known(event: Event) -> None:
    key, value = record_key(event), to_json(event)
    for place in range(len(value)):
        for bit in (1, 0x80):
            found = read_record(9, key, flipped(value, place, bit))
            if isinstance(found, BadRecord):
                assert (found.offset, found.topic, found.upload) == (9, TOPIC, "u")
                assert found.event == event.event
            else:
                # Blanks and the word "crc" itself are all that may differ.
                assert found == event


def malformed() -> Iterator[tuple[str, bytes]]:
    yield "deep", b'{"version": 1, "event": "begun", "topic": ' + b"[" * 99_999 + b"]" * 99_999
    yield "deep in a mapping", b'{"a":' * 99_999
    yield "empty", b""
    yield "many digits", b'{"version": ' + b"1" * 9999 + b"}"
    for event, changes in (
        (
            begun("u"),
            [
                {"topic": ["s"]},
                {"topic": "a/b"},
                {"topic": "deeptool.catalog"},
                {"upload": ""},
                {"proc_id": 2, "num_procs": 2},
                {"proc_id": True},
                {"batch_size": 0},
                {"split": "test"},
                {"hparams": []},
                {"start": {"x": 1}},
                {"start": {"0": -1}},
                {"start": {"0": 2**63}},
                {"heartbeat_seconds": 1e300},
                {"heartbeat_seconds": float("nan")},
                {"heartbeat_seconds": 0},
                {"element_spec": {"batched": True, "structure": []}},
                {"element_spec": {"batched": True, "structure": {"dict": 5}}},
                {"element_spec": 5},
                {"owner": "x" * 5000},
                {"time": float("inf")},
                {"replace": 1},
            ],
        ),
        (
            completed("u"),
            [
                {"epochs": []},
                {"epochs": {}},
                {"epochs": [[]]},
                {"epochs": [{"samples": 7, "records": 1, "bytes": 1, "runs": {"0": [[0, 1]]}}]},
                *(
                    {"epochs": [{**EPOCH, **change}]}
                    for change in (
                        {"samples": 0},
                        {"records": 2},
                        {"bytes": -1},
                        {"runs": {"0": [[1, 1]]}},
                        {"runs": {"0": [[-1, 0]]}},
                        {"runs": {"0": [[0, 2**63]]}, "records": 2**63},
                        {"runs": {"0": [[0, 1], [0, 1]]}, "records": 2},
                        {"runs": {"0": [[0.0, 1.0]]}},
                        {"runs": {"00": [[0, 1]]}},
                        {"digests": {"0": 5}},
                    )
                ),
            ],
        ),
        (progress("u"), [{"samples": "many"}, {"beat": None}]),
        (failed("u"), [{"reason": 5}]),
    ):
        for change in changes:
            values = {**json.loads(to_json(event)), **change}
            values.pop("crc")
            yield str(change)[:60], json.dumps(values).encode()
            # A CRC does not make it an event.
            yield f"{str(change)[:60]}, sealed", seal(json.dumps(values).encode())


EPOCH: dict[str, Any] = {
    "samples": 7,
    "records": 1,
    "bytes": 70,
    "runs": {"0": [[0, 1]]},
    "digests": {},
}


@pytest.mark.parametrize("key", [b"k", None, b"s.0.train/u/begun/0"])
@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in malformed()])
def test_malformed_records_are_named_and_stop_nothing(key: bytes | None, data: bytes) -> None:
    bad = read_record(3, key, data)
    assert isinstance(bad, BadRecord)
    assert bad.reason
    assert len(str(bad)) < 500
    others = [begun("o", session="other"), completed("o", "other.0.train")]
    catalog = fold([others[0], bad, others[1]])
    assert catalog["other.0.train"] == fold(others)["other.0.train"]


def test_a_damaged_begun_is_a_dataset_that_may_be_there() -> None:
    one, two = stored(begun("u"), completed("u"))
    state = fold(read([damaged(one), two]))[TOPIC]
    assert (state.current, state.pending) == (None, None)
    (bad,) = state.damaged
    assert (bad.offset, bad.upload, bad.event) == (0, "u", "begun")
    assert "its checksum is wrong" in str(bad)
    with pytest.raises(UserError, match=r"catalog is damaged where it tells of topic s\.0\.train"):
        find_dataset({TOPIC: state}, "s", "train")
    with pytest.raises(UserError, match="catalog is damaged"):
        find_dataset({TOPIC: state}, "s", "train", 0)
    with pytest.raises(UserError, match="is not stored"):
        find_dataset({TOPIC: state}, "s", "val")


def test_what_settles_damage() -> None:
    one, two = stored(begun("u"), completed("u"))
    lost = read([damaged(one), two])
    # Its own event, appended again; its deletion; the user's word, by its place in the catalog.
    assert fold([lost[0], begun("u")])[TOPIC].damaged == ()
    assert fold([*lost, deleted("u")])[TOPIC].damaged == ()
    settled = Deleted(TOPIC, "unknown", 1.0, damaged=(0,))
    assert fold([*lost, settled])[TOPIC].damaged == ()
    assert fold([*lost, Deleted(TOPIC, "unknown", 1.0, damaged=(1,))])[TOPIC].damaged != ()
    # Whoever replaced it while it could be read.
    after = [begun("v", replace=True), completed("v")]
    state = fold([*lost, *after])[TOPIC]
    assert state.damaged == ()
    assert state.current is not None
    assert state.current.id == "v"
    # But not one that never completed, nor the failure of another.
    assert fold([*lost, after[0], failed("v")])[TOPIC].damaged != ()


def test_a_damaged_completed_leaves_the_topic_as_free_as_it_was() -> None:
    one, two = stored(begun("u"), completed("u"))
    lost = read([one, damaged(two)])
    state = fold(lost)[TOPIC]
    assert state.pending is not None
    assert [bad.event for bad in state.damaged] == ["completed"]
    state = fold([*lost, begun("v", replace=True), completed("v")])[TOPIC]
    assert state.current is not None
    assert (state.current.id, state.damaged) == ("v", ())
    # The commit is repeated where no answer came.
    assert fold([*lost, completed("u")])[TOPIC].damaged == ()


@pytest.mark.parametrize("event", [progress("u"), failed("u"), deleted("u")])
def test_a_damaged_event_that_makes_no_dataset_protects_nothing(event: Event) -> None:
    records = stored(begun("u"), event)
    assert fold(read([records[0], damaged(records[1])]))[TOPIC].damaged == ()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_mutation_stops_a_reader_or_touches_another_topic(data: st.DataObject) -> None:
    """Bytes flipped, cut out, doubled and swapped, in keys and values of a log of three topics."""
    events: list[Event] = []
    for session in ("s", "t", "v"):
        topic = f"{session}.0.train"
        events += [begun("a", session=session), progress("a", topic=topic), completed("a", topic)]
        events += [begun("b", session=session, replace=True), completed("b", topic)]
    records = stored(*events)
    whole = fold(read(records))
    for _ in range(data.draw(st.integers(1, 6))):
        # Topic v is left alone.
        number = data.draw(st.integers(0, 9))
        key, value = records[number]
        part = data.draw(st.sampled_from(["value", "value", "key"]))
        text = value if part == "value" else key
        place = data.draw(st.integers(0, max(0, len(text) - 1)))
        how = data.draw(st.sampled_from(["flip", "cut", "double", "zero", "end"]))
        size = data.draw(st.integers(1, 40))
        if how == "flip" and text:
            text = flipped(text, place, data.draw(st.integers(1, 255)))
        elif how == "cut":
            text = text[:place] + text[place + size :]
        elif how == "double":
            text = text[: place + size] + text[place:]
        elif how == "zero":
            text = text[:place] + bytes(len(text[place : place + size])) + text[place + size :]
        else:
            text = text[:place]
        records[number] = (key, text) if part == "value" else (text, value)
    began = time.monotonic()
    catalog = fold(read(records))
    assert time.monotonic() - began < 1
    assert catalog["v.0.train"] == whole["v.0.train"]
    for topic in ("s.0.train", "t.0.train"):
        state = catalog.get(topic, TopicState())
        # What is there is one of the two that were there, or it is known that one may be.
        if not state.damaged:
            assert state.current is None or state.current.id in ("a", "b")
