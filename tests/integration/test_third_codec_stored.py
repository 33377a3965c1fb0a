"""A codec that no module knows but its own, from the upload to the rows that a trial reads."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import uploads

import deeptool
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.client.connection import connect
from deeptool.client.topic_names import topic_name
from deeptool.codec import CODECS
from deeptool.store.check import check_upload


def test_upload_read_shuffle_and_check(
    broker: str, session_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, "npz", "npz_codec:NpzCodec")
    numbers = np.arange(500)
    elements = {"number": numbers, "image": np.repeat(numbers[:, None], 8, axis=1) / 7}
    dataset = tf.data.Dataset.from_tensor_slices(elements).batch(16)
    uploads.tuned_upload(dataset, broker, session_name, codec="npz", record_bytes=4096)

    def read(**options: object) -> list[dict[str, np.ndarray]]:
        return list(deeptool.kafka_dataset(broker, session_name, **options).as_numpy_iterator())

    batches = read(batch_size=32)
    assert [len(batch["number"]) for batch in batches] == [32] * 15 + [20]
    seen = np.concatenate([batch["number"] for batch in batches])
    assert np.array_equal(seen, numbers)
    assert np.array_equal(np.concatenate([b["image"] for b in batches]), elements["image"])
    shuffled = np.concatenate([batch["number"] for batch in read(shuffle=True, seed=3)])
    assert not np.array_equal(shuffled, numbers)
    assert np.array_equal(np.sort(shuffled), numbers)

    connection = connect(broker)
    with CatalogLog(connection) as log:
        upload = log.read()[topic_name(session_name, 0, "train")].current
    assert upload is not None
    checked = check_upload(connection, upload)
    assert (checked.samples, checked.damages) == (500, ())
