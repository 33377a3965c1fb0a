"""Which uploads make up a dataset, and what is said where they do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from catalog_builders import begun, completed, failed, progress

from deeptool.catalog import datasets
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.datasets import (
    NotComplete,
    NotStored,
    Stored,
    find_dataset,
    find_topic,
    find_variant,
    wait_for,
)
from deeptool.catalog.events import Event
from deeptool.catalog.fold import Catalog, TopicState, fold
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.errors import UserError, WorkError


def one(
    proc_id: int = 0,
    state: str = "complete",
    samples: Sequence[int] = (7,),
    data_hparams: dict[str, Any] | None = None,
    **other: Any,
) -> list[Event]:
    """The events of one upload, whose id is its procID."""
    hparams = data_hparams or {}
    start = begun(f"u{proc_id}", proc_id=proc_id, data_hparams=hparams, **other)
    end = {
        "complete": [completed(start.upload, start.topic, samples, hparams)],
        "uploading": [progress(start.upload, topic=start.topic)],
        "failed": [failed(start.upload, start.topic)],
    }
    return [start, *end[state]]


def catalog(*uploads: list[Event]) -> Catalog:
    return fold([event for upload in uploads for event in upload])


def proc_ids(stored: Stored) -> list[int]:
    return [shard.upload.begun.proc_id for shard in stored.shards]


def shards(count: int, *, of: int | None = None, **other: Any) -> list[list[Event]]:
    size = of or count
    return [
        one(n, num_procs=size, data_hparams={"procID": n, "num_procs": size, "size": 8}, **other)
        for n in range(count)
    ]


# One variant


def test_the_only_variant() -> None:
    stored = find_dataset(
        catalog(one(3, samples=(7, 9), batch_size=2, codec="example")), "s", "train"
    )
    assert proc_ids(stored) == [3]
    assert stored.shards[0].topic == "s.3.train"
    assert (stored.session, stored.split, stored.complete) == ("s", "train", True)
    assert (stored.batch_size, stored.codec, stored.epochs) == (2, "example", 2)
    assert [stored.samples(epoch) for epoch in range(5)] == [7, 9, 7, 9, 7]
    assert stored.spec == stored.begun.element_spec


def test_nothing_is_stored() -> None:
    others = catalog(one(0, session="t"), one(0, split="val"))
    for empty in ({}, others):
        with pytest.raises(NotStored, match="dataset s, split train, is not stored") as caught:
            find_dataset(empty, "s", "train")
        assert not isinstance(caught.value, NotComplete)
        assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="unknown split"):
        find_dataset({}, "s", "test")


def test_several_variants_are_listed_with_what_tells_them_apart() -> None:
    stored = catalog(one(0, data_hparams={"size": 8}), one(1, data_hparams={"size": 16}))
    with pytest.raises(UserError, match="has several variants") as caught:
        find_dataset(stored, "s", "train")
    assert not isinstance(caught.value, NotStored)
    assert caught.value.seen == (
        "procID 0: complete, 7 samples; size=8; procID 1: complete, 7 samples; size=16"
    )
    assert proc_ids(find_dataset(stored, "s", "train", 1)) == [1]
    assert find_dataset(stored, "s", "train", 1).data_hparams == {"size": 16}


def test_a_variant_under_way_counts_when_it_must_be_chosen() -> None:
    with pytest.raises(UserError, match="has several variants"):
        find_dataset(catalog(one(0), one(1, "uploading")), "s", "train")
    assert proc_ids(find_dataset(catalog(one(0), one(1, "failed")), "s", "train")) == [0]


def test_a_proc_id_that_is_not_there() -> None:
    with pytest.raises(NotStored, match="not stored under procID 1, 4") as caught:
        find_dataset(catalog(one(0)), "s", "train", [0, 1, 4])
    assert "procID 0: complete" in str(caught.value.seen)
    for wrong in ([], [0, 0]):
        with pytest.raises(UserError, match="distinct"):
            find_dataset(catalog(one(0)), "s", "train", wrong)


def test_a_topic_of_another_name_is_no_part_of_the_session() -> None:
    start = begun("u", topic="elsewhere")
    stored = fold([start, completed("u", "elsewhere")])
    with pytest.raises(NotStored):
        find_dataset(stored, "s", "train")
    assert find_topic(stored, "elsewhere").shards[0].upload.id == "u"


# Not complete


def test_an_upload_under_way() -> None:
    pending = catalog(one(0, "uploading"))
    with pytest.raises(NotComplete, match="is not complete") as caught:
        find_dataset(pending, "s", "train")
    assert caught.value.seen == "procID 0: uploading, 5 samples so far by me"
    followed = find_dataset(pending, "s", "train", follow=True)
    assert (followed.complete, followed.shards[0].upload.id) == (False, "u0")
    with pytest.raises(WorkError, match="size is not known"):
        followed.samples(0)
    with pytest.raises(WorkError):
        _ = followed.epochs


def test_an_upload_that_failed() -> None:
    with pytest.raises(NotStored) as caught:
        find_dataset(catalog(one(0, "failed")), "s", "train")
    assert caught.value.seen == "procID 0: failed: the pipeline raised"
    assert not isinstance(caught.value, NotComplete)


def test_a_replacement_under_way_leaves_the_old_dataset_readable() -> None:
    replacing = [*one(0), begun("new", replace=True), progress("new")]
    assert find_dataset(fold(replacing), "s", "train").shards[0].upload.id == "u0"
    assert find_dataset(fold(replacing), "s", "train", follow=True).shards[0].upload.id == "new"
    assert find_topic(fold(replacing), "s.0.train").shards[0].upload.id == "u0"


def test_one_topic() -> None:
    with pytest.raises(NotStored, match="topic t holds no dataset"):
        find_topic({}, "t")
    with pytest.raises(NotStored) as caught:
        find_topic(catalog(one(0, "failed")), "s.0.train")
    assert "the pipeline raised" in str(caught.value)
    pending = catalog(one(0, "uploading"))
    with pytest.raises(NotComplete) as caught:
        find_topic(pending, "s.0.train")
    assert "5 samples so far by me" in str(caught.value)
    assert find_topic(pending, "s.0.train", follow=True).complete is False


# Shards


def test_all_shards_are_one_dataset() -> None:
    stored = find_dataset(catalog(*reversed(shards(3, samples=(7, 9)))), "s", "train")
    assert proc_ids(stored) == [0, 1, 2]
    assert [stored.samples(epoch) for epoch in range(3)] == [21, 27, 21]
    assert stored.data_hparams == {"size": 8}
    assert proc_ids(find_dataset(catalog(*shards(3)), "s", "train", [2, 0, 1])) == [0, 1, 2]


def test_a_missing_shard_may_yet_come() -> None:
    with pytest.raises(NotComplete, match="lacks shard 2, 3 of 4") as caught:
        find_dataset(catalog(*shards(2, of=4)), "s", "train")
    assert "procID 1 (shard 1 of 4): complete, 7 samples" in str(caught.value.seen)
    for part in (0, [0, 1]):
        with pytest.raises(NotComplete, match="lacks shard"):
            find_dataset(catalog(*shards(3)), "s", "train", part)


@pytest.mark.parametrize(("state", "shown"), [("uploading", "5 samples"), ("failed", "raised")])
def test_a_shard_that_is_not_complete(state: str, shown: str) -> None:
    stored = catalog(*shards(2, of=3), one(2, state, num_procs=3))
    with pytest.raises(NotComplete) as caught:
        find_dataset(stored, "s", "train")
    assert f"procID 2 (shard 2 of 3): {state}" in str(caught.value.seen)
    assert shown in str(caught.value.seen)


def test_shards_of_an_older_run_stay_readable_while_one_is_replaced() -> None:
    replacing = [*events_of(catalog(*shards(2))), begun("new", proc_id=1, replace=True)]
    assert proc_ids(find_dataset(fold(replacing), "s", "train")) == [0, 1]


def test_shards_of_another_number_are_another_run() -> None:
    mixed = catalog(*shards(2), one(2, num_procs=4))
    with pytest.raises(UserError, match="mixes uploads of different runs") as caught:
        find_dataset(mixed, "s", "train")
    assert not isinstance(caught.value, NotStored)
    assert "(shard 2 of 4)" in str(caught.value.seen)
    assert "(shard 1 of 2)" in str(caught.value.seen)
    with pytest.raises(UserError, match="mixes uploads"):
        find_dataset(catalog(*shards(2), one(2)), "s", "train")
    # By name the right ones can still be read.
    assert proc_ids(find_dataset(mixed, "s", "train", [0, 1])) == [0, 1]


@pytest.mark.parametrize(
    ("other", "seen"),
    [
        ({"settings_sha256": "6" * 64}, 'settings file: "5555555555555555" and "6666666666666666"'),
        ({"raw_data": {"digest": "e" * 64}}, 'raw data: "dddddddddddddddd" and "eeeeeeeeeeeeeeee"'),
        ({"data_hparams": {"size": 9}}, "hparam size: 8 and 9"),
        ({"data_hparams": {"size": 8, "mean": 0.5}}, "hparam mean: None and 0.5"),
        ({"samples": (7, 7)}, "stored epochs: 1 and 2"),
        ({"codec": "example"}, 'codec: "arrow" and "example"'),
        ({"auto_shard": True}, "auto-shard: false and true"),
        (
            {"element_spec": Spec(Leaf("int8", (None,)))},
            'element_spec: "(float32[?, 2], int64[?])" and "int8[?]"',
        ),
    ],
)
def test_shards_of_another_run(other: dict[str, Any], seen: str) -> None:
    second = {"data_hparams": {"size": 8}, **other}
    stored = catalog(*shards(1, of=2), one(1, num_procs=2, **second))
    with pytest.raises(UserError, match="procID 0 and 1 are of different runs") as caught:
        find_dataset(stored, "s", "train")
    assert not isinstance(caught.value, NotStored)
    assert caught.value.seen == seen
    # Where one of them is being replaced, time may heal it.
    with pytest.raises(NotComplete, match="different runs"):
        find_dataset(fold([*events_of(stored), begun("r", proc_id=0, replace=True)]), "s", "train")


def events_of(stored: Catalog) -> list[Event]:
    return [
        event
        for state in stored.values()
        if state.current is not None and state.current.completed is not None
        for event in (state.current.begun, state.current.completed)
    ]


TIMES = {"raw_data": {"digest": "a", "names_digest": "n"}}


@pytest.mark.parametrize(
    ("first", "other", "seen"),
    [
        ({"auto_shard": True}, {"auto_shard": True, "batch_size": 5}, "batch size: 4 and 5"),
        ({}, {"batch_size": 5}, None),
        (TIMES, {"raw_data": {"digest": "b", "names_digest": "n"}}, None),
        (TIMES, {"raw_data": {"digest": "b", "names_digest": "m"}}, 'files: "n" and "m"'),
        (TIMES, {"raw_data": {"digest": "a"}}, None),
        (TIMES, {"raw_data": {"digest": "b"}}, 'raw data: "a" and "b"'),
    ],
)
def test_what_an_edit_between_two_shards_comes_to(
    first: dict[str, Any], other: dict[str, Any], seen: str | None
) -> None:
    stored = catalog(one(0, num_procs=2, **first), one(1, num_procs=2, **other))
    if seen is None:
        assert proc_ids(find_dataset(stored, "s", "train")) == [0, 1]
        return
    with pytest.raises(UserError, match="different runs") as caught:
        find_dataset(stored, "s", "train")
    assert seen in str(caught.value.seen)


@pytest.mark.parametrize(
    ("code", "settings", "seen"),
    [
        # A comment, say: the text is another one, the code is not.
        ({"f": "1", "file:a.csv": "2"}, "6" * 64, None),
        # How far a shard reads says which files it opens.
        ({"f": "1", "file:b.csv": "3"}, "6" * 64, None),
        ({"f": "2"}, "6" * 64, "pipeline code: f"),
        ({"f": "1", "file:a.csv": "3"}, "5" * 64, "pipeline code: file:a.csv"),
        (None, "5" * 64, None),
        (None, "6" * 64, "settings file"),
    ],
)
def test_shards_are_of_one_run_by_the_code_of_their_pipeline(
    code: dict[str, str] | None, settings: str, seen: str | None
) -> None:
    uploads = []
    for index, (kept, digest) in enumerate(
        [({"f": "1", "file:a.csv": "2"}, "5" * 64), (code, settings)]
    ):
        begins = begun(f"u{index}", proc_id=index, num_procs=2, settings_sha256=digest)
        ends = completed(f"u{index}", begins.topic)
        facts = None if kept is None else {"code": kept}
        uploads += [begins, dataclasses.replace(ends, pipeline=facts)]
    if seen is None:
        assert proc_ids(find_dataset(fold(uploads), "s", "train")) == [0, 1]
        return
    with pytest.raises(UserError, match="different runs") as caught:
        find_dataset(fold(uploads), "s", "train")
    assert seen in str(caught.value.seen)


def test_shards_may_differ_in_the_size_of_their_batches_axis() -> None:
    def spec(rows: int | None) -> Spec:
        return Spec(Leaf("int8", (rows, 3)))

    first = one(0, num_procs=2, element_spec=spec(4))
    same = find_dataset(catalog(first, one(1, num_procs=2, element_spec=spec(4))), "s", "train")
    assert same.spec == spec(4)
    other = find_dataset(catalog(first, one(1, num_procs=2, element_spec=spec(None))), "s", "train")
    assert other.spec == spec(None)


def test_following_shards_compares_what_is_known_at_the_beginning() -> None:
    stored = catalog(
        one(0, num_procs=2, samples=(7, 7)),
        one(1, "uploading", num_procs=2),
    )
    assert proc_ids(find_dataset(stored, "s", "train", follow=True)) == [0, 1]
    stored = catalog(one(0, num_procs=2), one(1, "uploading", num_procs=2, codec="example"))
    with pytest.raises(UserError, match="different runs"):
        find_dataset(stored, "s", "train", follow=True)


def test_variants_alike_may_be_read_together_by_name() -> None:
    alike = catalog(one(0, data_hparams={"procID": 0}), one(1, data_hparams={"procID": 1}))
    assert proc_ids(find_dataset(alike, "s", "train", [1, 0])) == [0, 1]
    with pytest.raises(UserError, match="has several variants"):
        find_dataset(alike, "s", "train")
    differing = catalog(one(0, data_hparams={"size": 8}), one(1, data_hparams={"size": 9}))
    with pytest.raises(UserError, match="different runs"):
        find_dataset(differing, "s", "train", [0, 1])


# The variant that fits


def test_the_variant_that_fits() -> None:
    stored = catalog(
        one(0, data_hparams={"size": 8, "procID": 0}),
        one(1, data_hparams={"size": 16, "procID": 1}),
        one(2, "failed", data_hparams={"size": 32}),
    )
    for size, proc_id in ((8, 0), (16, 1)):
        hparams = {"size": size, "lr": 0.1, "procID": 0}
        assert find_variant(stored, "s", "train", hparams) == proc_id
    with pytest.raises(UserError, match="no variant of s, split train") as caught:
        find_variant(stored, "s", "train", {"size": 32, "lr": 0.1})
    assert not isinstance(caught.value, NotStored)
    assert caught.value.seen == "procID 0: size is 8, not 32; procID 1: size is 16, not 32"
    with pytest.raises(UserError) as caught:
        find_variant(stored, "s", "train", {"lr": 0.1})
    assert "size is 8, not None" in str(caught.value.seen)


def test_the_only_variant_must_fit_too() -> None:
    with pytest.raises(UserError, match="no variant"):
        find_variant(catalog(one(0, data_hparams={"size": 8})), "s", "train", {"size": 9})


def test_values_are_compared_as_the_catalog_keeps_them() -> None:
    stored = catalog(one(0, data_hparams={"shape": [1, 2], "scale": 1, "nan": float("nan")}))
    hparams = {"shape": (1, 2), "scale": 1.0, "nan": float("nan")}
    assert find_variant(stored, "s", "train", hparams) == 0


def test_variants_that_are_alike() -> None:
    alike = catalog(one(0), one(1))
    with pytest.raises(UserError, match="several variants of s, split train, fit") as caught:
        find_variant(alike, "s", "train", {"lr": 1})
    assert caught.value.seen == "procID 0, procID 1"
    assert find_variant(alike, "s", "train", {"procID": 1}) == 1


def test_the_variant_that_fits_is_under_way() -> None:
    stored = catalog(
        one(0, data_hparams={"size": 8}), one(1, "uploading", data_hparams={"size": 16})
    )
    with pytest.raises(NotComplete, match="that fits is not complete"):
        find_variant(stored, "s", "train", {"size": 16})
    assert find_variant(stored, "s", "train", {"size": 8}) == 0


def test_following_takes_the_variant_that_is_under_way_or_waits_for_it() -> None:
    stored = catalog(
        one(0, data_hparams={"size": 8}), one(1, "uploading", data_hparams={"size": 16})
    )
    assert find_variant(stored, "s", "train", {"size": 16}, follow=True) == 1
    assert find_variant(stored, "s", "train", {"size": 8}, follow=True) == 0
    # Another one may begin: to be asked again.
    with pytest.raises(NotStored, match="no variant of s, split train"):
        find_variant(stored, "s", "train", {"size": 32}, follow=True)
    with pytest.raises(NotStored, match="no upload of it has begun"):
        find_variant({}, "s", "train", {"size": 32}, follow=True)
    failed = catalog(one(0, "failed", data_hparams={"size": 8}))
    with pytest.raises(NotStored, match="not complete, and no upload of it has begun"):
        find_dataset(failed, "s", "train", 0, follow=True)


def test_there_is_no_variant_to_choose() -> None:
    assert find_variant(catalog(*shards(2)), "s", "train", {"size": 8}) is None
    with pytest.raises(NotStored):
        find_variant({}, "s", "train", {})
    with pytest.raises(NotStored, match="is not stored") as caught:
        find_variant(catalog(one(0, "failed")), "s", "train", {})
    assert "failed" in str(caught.value.seen)


# Waiting


class Growing(CatalogLog):
    """A catalog that has one more event at each reading, and a clock that sleep() moves."""

    def __init__(self, events: list[Event]) -> None:
        self.events, self.readings, self.now = events, 0, 0.0

    def read(self, *, create: bool = False) -> dict[str, TopicState]:
        self.readings += 1
        return fold(self.events[: self.readings - 1])

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waiting_for_a_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Growing(one(0, "uploading") + [completed("u0")])
    monkeypatch.setattr(datasets, "time", log)
    lines: list[str] = []
    stored = wait_for(log, lambda seen: find_dataset(seen, "s", "train"), 10, lines.append)
    assert (stored.samples(0), log.readings, log.now) == (7, 4, 3.0)
    assert lines == [
        "waiting up to 10 s more: dataset s, split train, is not stored (nothing of it)",
        "waiting up to 9 s more: dataset s, split train, is not complete"
        " (procID 0: uploading, 0 samples so far by me)",
        "waiting up to 8 s more: dataset s, split train, is not complete"
        " (procID 0: uploading, 5 samples so far by me)",
    ]


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Growing([])
    monkeypatch.setattr(datasets, "time", log)
    with pytest.raises(NotStored):
        wait_for(log, lambda seen: find_dataset(seen, "s", "train"), 2.5)
    assert (log.now, log.readings) == (2.5, 4)
    with pytest.raises(NotStored):
        wait_for(log, lambda seen: find_dataset(seen, "s", "train"), 0)
    assert log.readings == 5


def test_waiting_is_for_what_time_can_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Growing(one(0) + one(1))
    log.readings = 4
    monkeypatch.setattr(datasets, "time", log)
    with pytest.raises(UserError, match="several variants"):
        wait_for(log, lambda seen: find_dataset(seen, "s", "train"), 10)
    assert log.now == 0
