"""Selected rows and components: by every face, in every order, with and without a copy."""

from __future__ import annotations

import logging
import pickle
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import MemoryStore
from test_numpy_batches import FIXED, ROWS, SPECS, leaves_of, made

import deeptool
from deeptool.catalog.stored import Stored
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves
from deeptool.errors import UserError
from deeptool.orders import row_groups
from deeptool.producer.ledger import Ledger
from deeptool.reader import StoredDataset
from deeptool.sealed.seal import seal, uploads_to_seal

LABELLED = Spec((Leaf("float32", (None, 2)), Leaf("int64", (None,)), Leaf("string", (None, 1))))
CLASSES = np.array([0] * 60 + [1] * 30 + [7] * 10)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(target_bytes=900)


def dataset(
    store: MemoryStore, spec: Spec = FIXED, passes: int = 2, even: bool = False, **facts: Any
) -> StoredDataset:
    epochs = [made(spec, even=even) for _ in range(passes)]
    return StoredDataset(store, store.upload("u", *epochs, spec=spec, batch_size=4, **facts))


def labelled(store: MemoryStore, labels: Any = CLASSES, **facts: Any) -> StoredDataset:
    numbers = np.arange(len(labels))
    x = np.stack([numbers, labels], 1).astype(np.float32)
    texts = np.array([[str(label).encode()] for label in labels], object)
    batches = [(x[n : n + 8], labels[n : n + 8], texts[n : n + 8]) for n in range(0, len(x), 8)]
    return StoredDataset(store, store.upload("u", batches, spec=LABELLED, batch_size=8, **facts))


def numbers(batches: Any) -> list[int]:
    return [int(number) for _, labels in batches for number in labels["a"]]


# ---- rows, by every face ----

SOME = [0, 1, 2, 9, 10, 17, 20, 21, 22, 23, 24, 30, 43]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_selected_rows_of_every_spec(
    store: MemoryStore, tmp_path: Path, name: str, shuffle: bool
) -> None:
    """NumPy's and TensorFlow's faces give the same; each row once; a copy changes nothing."""
    spec = SPECS[name]
    padded = name.startswith("open") and name != "open, one size"
    data = dataset(store, spec, even=name == "open, one size").select(rows=SOME)
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 5, "order": "windowed"}
    how |= {"batch_size": 5, "drop_remainder": False} if spec.batched else {}
    if padded:
        how["padding_value"] = b"-" if name == "open text" else 7
    counts = [_count(spec, element) for element in data.numpy(**how)]
    assert sum(counts) == len(SOME)
    options: list[dict[str, Any]] = [{"repeat": 2, "num_shards": 3, "index": 1}]
    options += [{"start": (1, 1), "repeat": 2}, {"first_epoch": 2, "order": "global"}]
    for option in options:
        asked = {**how, **option}
        found = []
        for cache in ("off", tmp_path, "memory"):
            if cache != "off" or asked["order"] == "windowed":
                batches = data.numpy(**asked, cache=cache)
                found.append([leaves_of(spec, element) for element in batches])
        assert all(one == found[0] for one in found)
        in_graph = data.tf(**asked, cache=tmp_path)
        assert [leaves_of(spec, element) for element in in_graph] == found[0]
        assert int(in_graph.cardinality()) in (len(found[0]), -2)


def _count(spec: Spec, element: Any) -> int:
    return len(spec.flatten(element)[-1]) if spec.batched else 1


@pytest.mark.parametrize("rows", [SOME, slice(5, 40), slice(None, None, 3), [43]])
@pytest.mark.parametrize("order", [None, "windowed", "global"])
def test_each_selected_row_comes_once_in_each_pass(
    monkeypatch: pytest.MonkeyPatch, rows: Any, order: Any
) -> None:
    """Wherever an upload cut its records; parts together are the whole; positions continue it."""
    monkeypatch.setattr(row_groups, "GROUP_BYTES", 200)
    expected = np.arange(ROWS)[rows].tolist()
    how: dict[str, Any] = {"batch_size": 3}
    how |= {"shuffle": True, "seed": 3, "order": order} if order else {}
    found = []
    for target in (300, 900, 5000):
        data = dataset(MemoryStore(target), FIXED).select(rows=rows)
        assert len(data) == data.samples(1) == len(expected)
        for cache in ("off", "auto") if order != "global" else ("auto",):
            passes = [numbers(data.numpy(**how, cache=cache, first_epoch=k)) for k in range(4)]
            assert all(sorted(one) == expected for one in passes)
            found.append(passes)
            for k, one in enumerate(passes):
                rest = numbers(data.numpy(**how, cache=cache, start=(k, 1)))
                assert rest == one[3:]
            parts = [
                numbers(data.numpy(**how, cache=cache, num_shards=4, index=index))
                for index in range(4)
            ]
            assert sorted(chain(*parts)) == expected
    assert all(one == found[0] for one in found)
    if len(expected) > 10:
        assert len({tuple(one) for one in found[0]}) == (4 if order else 1)


@settings(deadline=None, max_examples=25)
@given(
    chosen=st.sets(st.integers(0, ROWS - 1), min_size=1),
    group=st.integers(1, 3000),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
    shards=st.integers(1, 3),
)
def test_any_rows_in_any_groups(
    chosen: set[int], group: int, shuffle: bool, seed: int, shards: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_groups, "GROUP_BYTES", group)
        data = dataset(MemoryStore(900), FIXED, passes=1).select(rows=sorted(chosen))
        found = [
            numbers(
                data.numpy(
                    **{"shuffle": shuffle, "seed": seed, "cache": "off"},
                    **{"num_shards": shards, "index": index},
                )
            )
            for index in range(shards)
        ]
    assert sorted(chain(*found)) == sorted(chosen)


def test_shards_that_have_no_selected_row(store: MemoryStore) -> None:
    shards = [
        store.upload(f"u{n}", made(FIXED, 20), spec=FIXED, proc_id=n, num_procs=3).shards[0]
        for n in range(3)
    ]
    data = StoredDataset(store, Stored("s", "train", tuple(shards))).select(rows=slice(38, 42))
    for cache in ("off", "auto"):
        assert numbers(data.numpy(cache=cache)) == [18, 19, 0, 1]
        shuffled = data.numpy(cache=cache, shuffle=True, repeat=2)
        assert sorted(numbers(shuffled)) == [0, 0, 1, 1, 18, 18, 19, 19]


@pytest.mark.parametrize("shuffle", [False, True])
def test_only_records_that_hold_selected_rows_are_read(store: MemoryStore, shuffle: bool) -> None:
    data = dataset(store).select(rows=[0, 1, 43])
    numbers(data.numpy(cache="off", shuffle=shuffle))
    assert data.meter.records == 2


def test_codec_example(store: MemoryStore) -> None:
    data = dataset(store, FIXED, codec="example").select(rows=SOME)
    for cache in ("off", "auto"):
        for shuffle in (False, True):
            found = numbers(data.numpy(cache=cache, shuffle=shuffle, seed=1, order="windowed"))
            assert found == numbers(data.tf(cache=cache, shuffle=shuffle, seed=1, order="windowed"))
            assert sorted(found) == SOME
    labels = data.select(columns="y/a")
    assert [int(n) for batch in labels.tf() for n in batch] == SOME
    assert [int(n) for batch in labels.numpy() for n in batch] == SOME


# ---- folds, fractions, classes ----


def test_five_folds(store: MemoryStore) -> None:
    data = dataset(store)
    held_out = []
    for k in range(5):
        test = numbers(data.select(fold=(k, 5), held_out=True).numpy())
        train = numbers(data.select(fold=(k, 5)).numpy())
        assert sorted(test + train) == list(range(ROWS))
        assert test == sorted(test)
        held_out += test
    assert sorted(held_out) == list(range(ROWS))
    other = data.select(fold=(0, 5), held_out=True, seed=1)
    assert numbers(other.numpy()) != held_out[:9]


def test_a_fraction_and_the_rest(store: MemoryStore) -> None:
    data = dataset(store)
    some, rest = data.select(fraction=0.25), data.select(fraction=0.25, held_out=True)
    assert (len(some), len(rest)) == (11, 33)
    assert sorted(numbers(some.numpy()) + numbers(rest.numpy())) == list(range(ROWS))
    assert data.select(fraction=1).selection == data.selection
    assert data.select(fraction=1.0).digest == data.digest


def test_a_selection_is_selected_from_again(store: MemoryStore) -> None:
    data = dataset(store)
    first = data.select(rows=slice(10, 40))
    second = first.select(fold=(1, 3), held_out=True)
    assert set(numbers(second.numpy())) < set(range(10, 40))
    assert numbers(first.select(rows=[0, -1]).numpy()) == [10, 39]
    assert first[[0, -1]][1]["a"].tolist() == [10, 39]
    assert first[3][1]["a"] == 13
    with pytest.raises(IndexError, match="no such row"):
        first[30]
    # In one call as in several.
    at_once = data.select(rows=slice(10, 40), fold=(0, 3), fraction=0.5, columns=["x"])
    in_turn = first.select(fold=(0, 3)).select(fraction=0.5).select(columns=["x"])
    assert at_once.selection == in_turn.selection
    assert (len(at_once), at_once.digest) == (10, in_turn.digest)
    assert "10 of 44 samples" in repr(at_once)


def test_what_a_selection_says_of_itself(store: MemoryStore) -> None:
    data = dataset(store, data_hparams={"size": 3})
    part = data.select(rows=SOME, columns="y/a")
    assert part.hparams == data.hparams
    assert (part.name, part.split, part.epochs) == (data.name, data.split, 2)
    assert part.spec == Spec(Leaf("int64", (None,)))
    digests = {one.digest for one in (data, part, data.select(rows=SOME), data.select(columns="x"))}
    assert len(digests) == 4
    assert part.elements(0, batch_size=5) == len(part.numpy(batch_size=5)) == 3
    assert pickle.loads(pickle.dumps(part.selection)) == part.selection


@pytest.mark.parametrize("column", ["y", "w", "1"])
def test_folds_keep_the_proportions_of_classes(store: MemoryStore, column: str) -> None:
    data = labelled(store)
    for k in range(5):
        test = data.select(fold=(k, 5), held_out=True, stratify=column)
        labels = np.concatenate([y for _, y, _ in test.numpy()])
        assert np.unique(labels, return_counts=True)[1].tolist() == [12, 6, 2]
        train = data.select(fold=(k, 5), stratify=column)
        assert np.unique(train[:][1], return_counts=True)[1].tolist() == [48, 24, 8]
        few = train.select(fraction=0.25, stratify=column)
        assert np.unique(few[:][1], return_counts=True)[1].tolist() == [12, 6, 2]
    # One pass of the broker for all of these: it filled the copy.
    assert data.stored.shards[0].upload.completed is not None
    assert data.meter.records == data.stored.shards[0].upload.completed.epochs[0].records


def test_labels_that_are_floats_of_whole_numbers(store: MemoryStore) -> None:
    spec = Spec({"label": Leaf("float32", (None,)), "value": Leaf("float32", (None,))})
    value = np.arange(20, dtype=np.float32)
    batches = [(value % 2, value + 0.5)]
    data = StoredDataset(store, store.upload("u", batches, spec=spec))
    half = data.select(fraction=0.5, stratify="label")
    assert half[:]["label"].sum() == 5
    with pytest.raises(UserError, match=r"values like 0\.5"):
        data.select(fraction=0.5, stratify="value")


def test_passes_whose_samples_are_in_other_orders(store: MemoryStore) -> None:
    """A fold would hold a sample in one pass, and train on it in the next."""
    spec = Spec((Leaf("float32", (None,)), Leaf("int64", (None,))))
    y = np.arange(20)
    x = y.astype(np.float32)
    epochs: list[list[Leaves]] = [[(x, y % 3)], [(x[::-1], y[::-1] % 3)]]
    data = StoredDataset(store, store.upload("u", *epochs, spec=spec))
    with pytest.raises(UserError, match="different orders") as caught:
        data.select(fold=(0, 2), stratify="y")
    assert "row 0 has label 0 in pass 0, 1 in pass 1" in str(caught.value)


def test_passes_of_different_lengths(store: MemoryStore) -> None:
    epochs = [made(FIXED, rows) for rows in (ROWS, 30)]
    data = StoredDataset(store, store.upload("u", *epochs, spec=FIXED))
    with pytest.raises(UserError, match="differ in their numbers of samples") as caught:
        data.select(fold=(0, 5))
    assert "44 samples in pass 0, 30 samples in pass 1" in str(caught.value)
    x = data.select(columns="x")
    assert [len(batch) for batch in x.numpy(batch_size=50, repeat=2)] == [44, 30]


def test_a_class_that_is_too_small_is_said(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    data = labelled(store, np.array([0] * 20 + [1] * 2))
    with caplog.at_level(logging.WARNING):
        data.select(fold=(0, 5), stratify="y")
    assert "smallest of the 2 classes of 'y' has 2 samples: not each of 5 folds" in caplog.text


# ---- components ----


@pytest.mark.parametrize("shuffle", [False, True])
def test_components_by_every_face(store: MemoryStore, shuffle: bool) -> None:
    data = labelled(store)
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 2, "batch_size": 9, "order": "windowed"}
    whole = list(data.numpy(**how, cache="off"))
    for cache in ("off", "auto"):
        for columns, places in ((["x", "y"], (0, 1)), (["y", "w"], (1, 2)), (["x"], (0,))):
            part = data.select(columns=columns)
            for face in (part.numpy, part.tf):
                found = list(face(**how, cache=cache))
                assert all(type(element) is tuple for element in found)
                for element, (one, expected) in zip(
                    found, zip(found, whole, strict=True), strict=True
                ):
                    assert element is one
                    for value, place in zip(element, places, strict=True):
                        np.testing.assert_array_equal(np.asarray(value), expected[place])
        labels = data.select(columns="y")
        for face in (labels.numpy, labels.tf):
            for value, expected in zip(face(**how, cache=cache), whole, strict=True):
                np.testing.assert_array_equal(np.asarray(value), expected[1])
    assert data.select(columns=["x", "y", "w"]).digest == data.digest


def test_components_of_very_many(store: MemoryStore) -> None:
    spec = SPECS["very many"]
    data = dataset(store, spec)
    for columns in (["c3", "c11"], [f"c{n}" for n in range(66)]):
        part = data.select(columns=columns, rows=slice(3, 20))
        for cache in ("off", "auto"):
            for face in (part.numpy, part.tf):
                elements = list(face(cache=cache, batch_size=6))
                assert [sorted(element) for element in elements] == [sorted(columns)] * 3
                for column in columns:
                    rows = np.concatenate([np.asarray(element[column]) for element in elements])
                    assert rows.tolist() == list(range(3, 20))
        assert part[[1, 0]]["c3"].tolist() == [4, 3]


def test_a_component_of_unknown_dimensions_that_is_left_out_needs_no_padding(
    store: MemoryStore,
) -> None:
    data = dataset(store, SPECS["open"])
    y = data.select(columns="y", fold=(0, 2))
    for cache in ("off", "auto"):
        found = [int(n) for batch in y.numpy(batch_size=7, cache=cache) for n in batch]
        assert found == [int(n) for batch in y.tf(batch_size=7, cache=cache) for n in batch]
        assert len(found) == 22
    # Batches come back as they were uploaded where no row is selected, without the others.
    x = data.select(columns="x")
    assert [batch.shape[1] for batch in x.numpy()] == [batch.shape[1] for batch, _ in data.numpy()]
    with pytest.raises(UserError, match="padding_value") as caught:
        data.select(fold=(0, 2)).numpy()
    assert "all samples, in the batches that were uploaded" in str(caught.value)


def test_a_sealed_dataset_is_selected_from_alike(store: MemoryStore, tmp_path: Path) -> None:
    data = labelled(store)
    seal(store, "s", uploads_to_seal(store.catalog(), "s"), tmp_path / "sealed")
    again = deeptool.open(tmp_path / "sealed", split="train")
    for options in ({"fold": (1, 3), "stratify": "y"}, {"fraction": 0.3, "columns": ["x", "y"]}):
        part, other = data.select(**options), again.select(**options)
        assert part.digest == other.digest
        for element, expected in zip(other[:], part[:], strict=True):
            np.testing.assert_array_equal(element, expected)
        for how in ({}, {"shuffle": True, "seed": 1}, {"cache": "off", "num_shards": 2}):
            found = [element[0].tolist() for element in other.numpy(**how)]
            assert found == [element[0].tolist() for element in part.numpy(**how)]


# ---- what cannot be selected ----


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"columns": "labels"}, ["no such component", "'labels'", "x, y, w"]),
        ({"columns": []}, ["names no component"]),
        ({"fold": (5, 5)}, ["no such fold", "(5, 5)", "fold 0 to 4"]),
        ({"fold": (-1, 5)}, ["no such fold", "(-1, 5)"]),
        ({"fold": (0, 1)}, ["at least 2 folds", "(0, 1)"]),
        ({"fold": (0, 101)}, ["more folds than rows", "101 folds of 100", "2 to 100"]),
        ({"fold": 3}, ["no fold", "3", "(k, n)"]),
        ({"fold": (0.5, 2)}, ["no fold"]),
        ({"fraction": 0}, ["fraction is out of range", "0", "at most 1"]),
        ({"fraction": 1.01}, ["fraction is out of range", "1.01"]),
        ({"fraction": float("nan")}, ["fraction is out of range"]),
        ({"fraction": "half"}, ["fraction is out of range", "half"]),
        ({"fraction": 0.001}, ["nothing is selected", "fraction=0.001", "one of 100 rows"]),
        ({"fraction": 1, "held_out": True}, ["nothing is selected", "held_out=True"]),
        ({"held_out": True}, ["there is neither", "fold=(k, n) or fraction=f"]),
        ({"held_out": True, "fold": (0, 2), "fraction": 0.5}, ["there are both", "data.select("]),
        ({"rows": [100]}, ["no such row", "100", "-100 to 99"]),
        ({"rows": []}, ["nothing is selected", "rows=[]"]),
        ({"rows": slice(100, 200)}, ["nothing is selected", "slice(100, 200, None)"]),
        ({"rows": np.zeros(100, bool)}, ["nothing is selected"]),
        ({"rows": np.zeros(99, bool)}, ["mask", "99 booleans"]),
        ({"rows": "y"}, ["no index of rows"]),
        ({"rows": [3, 1]}, ["in the order of the store", "row 1 behind row 3", "np.unique"]),
        ({"rows": (1, 1)}, ["each row once", "row 1 behind row 1"]),
        ({"seed": 0.5, "fraction": 0.5}, ["seed is no whole number", "0.5"]),
        ({"stratify": "y"}, ["there are none", "stratify='y'"]),
        ({"stratify": "z", "fraction": 0.5}, ["no such component", "'z'"]),
        ({"stratify": "x", "fraction": 0.5}, ["one class per sample", "'x': float32[?, 2]"]),
        ({"stratify": "y", "fold": (0, 61)}, ["no class has a sample for each fold", "60"]),
    ],
)
def test_what_cannot_be_selected(store: MemoryStore, options: Any, texts: list[str]) -> None:
    data = labelled(store)
    with pytest.raises(UserError) as caught:
        data.select(**options)
    assert all(text in str(caught.value) for text in texts), str(caught.value)


def test_rows_of_an_upload_under_way(store: MemoryStore) -> None:
    event = store.begin("u", FIXED)
    store.send(event, made(FIXED), Ledger())
    data = StoredDataset(store, store.found(event), follow=True)
    with pytest.raises(UserError, match="once it is complete"):
        data.select(fraction=0.5)


def test_tensorflow_io_reads_no_selected_rows(store: MemoryStore) -> None:
    with pytest.raises(UserError, match="tensorflow-io"):
        dataset(store).select(rows=SOME).tf(reader="tfio")


def test_orders_of_a_selection_do_not_repeat(store: MemoryStore) -> None:
    data = dataset(store).select(fold=(0, 2))
    passes = [numbers(data.numpy(shuffle=True, seed=1, first_epoch=k)) for k in range(6)]
    assert all(one != other for one, other in pairwise(passes))
