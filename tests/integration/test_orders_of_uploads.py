"""On a real broker: the order of a shuffled pass does not depend on where uploads cut records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import uploads

import deeptool
from deeptool.orders import row_groups
from deeptool.rows.read_plan import MemoryShares, ReadPlan

pytestmark = pytest.mark.broker
# Of two shards, in two stored epochs each.
SIZES = ((900, 1100), (700, 513))


def rows_of(shard: int, epoch: int, batch: int) -> tf.data.Dataset:
    first = 10_000 * epoch + sum(SIZES[epoch][:shard])
    y = np.arange(first, first + SIZES[epoch][shard])
    x = np.repeat(y[:, None], 25, axis=1).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)


def upload(broker: str, name: str, batch: int, **tuning: Any) -> None:
    for shard in (0, 1):
        uploads.tuned_upload(
            lambda epoch, shard=shard: rows_of(shard, epoch, batch),
            broker,
            name,
            epochs=2,
            proc_id=shard,
            num_procs=2,
            replace=True,
            **tuning,
        )


def numbers(data: deeptool.StoredDataset, **options: Any) -> list[int]:
    found: list[int] = []
    how = {"batch_size": 50, "shuffle": True, "seed": 4, "cache": "off", **options}
    for x, y in data.tf(**how).as_numpy_iterator():
        np.testing.assert_array_equal(x, np.repeat(y[:, None], 25, axis=1))
        found += y.tolist()
    return found


def test_two_uploads_cut_in_other_ways_are_read_alike(
    broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_groups, "GROUP_BYTES", 20_000)
    found = []
    for batch, tuning in (
        (32, {"record_bytes": 2000, "partitions": 3}),
        (45, {"record_bytes": 1 << 20, "partitions": 3}),
    ):
        upload(broker, session_name, batch, **tuning)
        data = deeptool.open(broker, session_name)
        parts: list[list[int]] = []
        for k in range(4):
            for index in (0, 1, 2):
                options = {"first_epoch": k, "num_shards": 3, "index": index}
                parts.append(numbers(data, **options))
                copied = {"order": "windowed", "cache": "auto"}
                assert numbers(data, **options, **copied) == parts[-1]
                plan = ReadPlan(data.store, data.stored, MemoryShares(1), 3, index, 4)
                order = plan.windowed_order(k)
                assert len(order.groups()) > 3
                wanted = order.rows(0, order.samples) + 10_000 * (k % 2)
                assert parts[-1] == wanted.tolist()
        found.append(parts)
        records = [
            epoch.records
            for shard in data.stored.shards
            for epoch in (shard.upload.completed.epochs if shard.upload.completed else ())
        ]
        assert data.meter.records >= 2 * sum(records)
    assert found[0] == found[1]
