"""On a real broker: rows by index, folds and fractions, and the records that are read for them."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import uploads

import deeptool

pytestmark = pytest.mark.broker
# Of two shards, in both of their stored epochs.
SIZES = (450, 550)
ROWS = sum(SIZES)
# Two ways to cut the same samples into records.
CUTS: list[dict[str, Any]] = [
    {"batch": 32, "record_bytes": 3000, "partitions": 3},
    {"batch": 45, "record_bytes": 40_000, "partitions": 2},
]


def upload(broker: str, name: str, *, batch: int, **tuning: Any) -> deeptool.StoredDataset:
    for shard in (0, 1):
        y = np.arange(sum(SIZES[:shard]), sum(SIZES[: shard + 1]))
        x = np.repeat(y[:, None], 25, axis=1).astype(np.float32)
        texts = tf.ragged.constant([[b"%d" % n] * (n % 3) for n in y], dtype=tf.string)
        columns = ({"image": x, "text": texts}, {"row": y, "label": (y % 10 > 6).astype(np.int32)})
        uploads.tuned_upload(
            lambda epoch, columns=columns: tf.data.Dataset.from_tensor_slices(columns).batch(batch),
            broker,
            name,
            epochs=2,
            proc_id=shard,
            num_procs=2,
            replace=True,
            **tuning,
        )
    return deeptool.open(broker, name)


def numbers(batches: Any) -> list[int]:
    found: list[int] = []
    for x, y in batches:
        np.testing.assert_array_equal(x["image"][:, 7], y["row"])
        found += np.asarray(y["row"]).tolist()
    return found


@pytest.mark.parametrize("shuffle", [False, True])
def test_folds_do_not_depend_on_how_records_were_cut(
    broker: str, session_name: str, shuffle: bool
) -> None:
    found = []
    how: dict[str, Any] = {"shuffle": shuffle, "seed": 3, "batch_size": 24}
    for cut in CUTS:
        data = upload(broker, session_name, **cut)
        folds = []
        for k in range(3):
            train = data.select(fold=(k, 3), stratify="y/label")
            test = data.select(fold=(k, 3), stratify="y/label", held_out=True)
            rows = numbers(test.numpy(**how, cache="off", first_epoch=1))
            # From the copy that the labels were read through, and by TensorFlow.
            copied = test.numpy(**how, cache="auto", order="windowed", first_epoch=1)
            assert numbers(copied) == rows
            assert numbers(test.tf(**how, cache="off", first_epoch=1)) == rows
            assert 98 <= int(test[:][1]["label"].sum()) <= 101
            rest = numbers(train.numpy(**how, cache="off"))
            assert sorted(rows + rest) == list(range(ROWS))
            assert numbers(train.numpy(**how, cache="off", start=(0, 5))) == rest[5 * 24 :]
            folds.append(rows)
        assert sorted(chain(*folds)) == list(range(ROWS))
        found.append(folds)
    assert found[0] == found[1]


def test_rows_by_index_read_the_records_that_hold_them(broker: str, session_name: str) -> None:
    data = upload(broker, session_name, **CUTS[0])
    x, y = data[[999, 3, 450, 3]]
    assert y["row"].tolist() == [999, 3, 450, 3]
    assert x["image"][:, 24].tolist() == [999, 3, 450, 3]
    assert x["text"].flat_values.tolist() == []
    assert data.meter.records == 3
    x, y = data[-2]
    assert (int(y["row"]), x["text"].tolist()) == (998, [b"998", b"998"])
    assert data[445:455][1]["row"].tolist() == list(range(445, 455))
    assert data[np.arange(ROWS) % 100 == 7][0]["text"].flat_values.tolist() == [
        b"%d" % n for n in range(7, ROWS, 100) for _ in range(n % 3)
    ]
    with pytest.raises(IndexError, match="-1000 to 999"):
        data[ROWS]


def test_selected_rows_need_the_records_that_hold_them_only(broker: str, session_name: str) -> None:
    data = upload(broker, session_name, **CUTS[0])
    part = data.select(rows=slice(440, 460), columns=["x/image", "y"])
    batches = part.numpy(shuffle=True, seed=1, cache="off", repeat=4)
    found = numbers(batches)
    passes = [found[n : n + 20] for n in range(0, 80, 20)]
    assert all(sorted(rows) == list(range(440, 460)) for rows in passes)
    assert len({tuple(rows) for rows in passes}) == 4
    assert data.meter.records <= 4 * 4
    assert list(next(iter(batches))[0]) == ["image"]
    # Parts of several nodes.
    parts = [numbers(part.numpy(num_shards=3, index=index, cache="off")) for index in range(3)]
    assert sorted(chain(*parts)) == list(range(440, 460))
