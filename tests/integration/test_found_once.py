"""A trial reads the uploads that it found and checked, whatever replaces them on a real broker."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import uploads
from confluent_kafka.admin import AdminClient
from paths import HELPERS

import deeptool
from deeptool.client.topic_names import topic_name
from deeptool.errors import WorkError
from deeptool.settings import Settings, load_settings
from deeptool.training import kafka_data

pytestmark = pytest.mark.broker

# The stored data fit the trial by their hparams: only the samples tell the uploads apart.
HPARAMS: dict[str, Any] = {"samples": 40, "data": "slices"}


class Recording(keras.Sequential):
    """Remembers the samples that it was trained and validated on."""

    def __init__(self) -> None:
        super().__init__([keras.Input((1,)), keras.layers.Dense(1)])
        self.trained: list[float] = []
        self.validated: list[float] = []

    def train_step(self, data: Any) -> Any:
        tf.numpy_function(lambda x: self.trained.extend(x.ravel().tolist()), [data[0]], [])
        return super().train_step(data)

    def test_step(self, data: Any) -> Any:
        tf.numpy_function(lambda x: self.validated.extend(x.ravel().tolist()), [data[0]], [])
        return super().test_step(data)


class Trial:
    """A trial of one epoch, at the moment after its checks of whose data `meanwhile` happens."""

    def __init__(self, broker: str, settings: Settings) -> None:
        self.broker, self.settings = broker, settings
        self.name = settings.session_name
        self.model = Recording()
        settings.build_model = lambda: self.model

    def store(self, split: str, first: float, rows: int, **how: Any) -> str:
        """Upload samples first, first + 1, ...; returns the upload's id."""
        x = tf.range(rows, dtype=tf.float32)[:, tf.newaxis] + first
        dataset = tf.data.Dataset.from_tensor_slices((x, x)).batch(8)
        known = deeptool.Provenance(hparams=HPARAMS, data_hparams=HPARAMS)
        done = deeptool.upload(dataset, self.broker, self.name, split, provenance=known, **how)
        return done.upload

    def current(self, split: str) -> str:
        return uploads.current(self.broker, topic_name(self.name, 0, split)).id

    def run(self, patch: pytest.MonkeyPatch, meanwhile: Any) -> None:
        """Train; `meanwhile` is called once, when both splits were checked and none was read."""
        whole, checked = kafka_data.compare, []

        def compare(*given: Any) -> list[str]:
            warnings = whole(*given)
            checked.append(given)
            if len(checked) == 2:
                meanwhile()
            return warnings

        patch.setattr(kafka_data, "compare", compare)
        deeptool.train(self.settings, kafka=True, servers=self.broker, session_dir="here")

    @property
    def recorded(self) -> list[str]:
        """The upload ids in the session folder: of train, then of val."""
        found: list[str] = json.loads(Path("here/config.json").read_text())["data"]["uploads"]
        return found


@pytest.fixture
def trial(broker: str, tmp_path: Path, session_name: str, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.chdir(tmp_path)
    for name in ("trial_settings.py", "trial_model.py"):
        text = (HELPERS / name).read_text()
        (tmp_path / name).write_text(text.replace('"trial"', repr(session_name)))
    return Trial(broker, load_settings(tmp_path / "trial_settings.py", hparams={"epochs": 1}))


def test_a_replaced_dataset_is_read_as_it_was_checked_while_its_records_exist(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [trial.store("train", 0.0, 40), trial.store("val", 0.0, 16)]
    # As at the moment when a replacing upload is complete and has not deleted the old records yet.
    monkeypatch.setattr("deeptool.client.admin.delete_records", lambda *_: None)

    def replace() -> None:
        trial.store("train", 1000.0, 24, replace=True)
        trial.store("val", 1000.0, 8, replace=True)

    trial.run(monkeypatch, replace)
    assert sorted(trial.model.trained) == [float(n) for n in range(40)]
    assert trial.model.validated == [float(n) for n in range(16)]
    assert trial.recorded == old
    assert [trial.current("train"), trial.current("val")] != old


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_replaced_dataset_whose_records_are_gone_is_an_error(
    trial: Trial, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.store("train", 0.0, 40)
    trial.store("val", 0.0, 16)
    with pytest.raises(WorkError, match="deleted or replaced while it was read") as caught:
        trial.run(monkeypatch, lambda: trial.store(split, 1000.0, 40, replace=True))
    assert topic_name(trial.name, 0, split) in str(caught.value)
    assert max([*trial.model.trained, *trial.model.validated], default=0.0) < 1000
    assert json.loads(Path("here/result.json").read_text())["status"] == "failed"


def test_a_topic_that_was_deleted_and_made_again_is_an_error(
    broker: str, session_name: str
) -> None:
    """The new records have the offsets of the old ones: only their headers tell them apart."""

    def numbered(begin: int) -> tf.data.Dataset:
        y = np.arange(begin, begin + 500, dtype=np.int64)
        return tf.data.Dataset.from_tensor_slices((y.astype(np.float32), y)).batch(10)

    how: dict[str, Any] = {"partitions": 1}
    deeptool.upload(numbered(0), broker, session_name, **how)
    data = deeptool.open(broker, session_name)
    (topic,) = data.topics
    admin = AdminClient({"bootstrap.servers": broker})
    admin.delete_topics([topic])[topic].result(30)
    deadline = time.monotonic() + 30
    while topic in admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    deeptool.upload(numbered(1000), broker, session_name, replace=True, **how)
    elements = data.tf().as_numpy_iterator()
    with pytest.raises(WorkError, match="is by upload") as caught, data.meter.raising():
        next(elements)
    assert "deleted or replaced while it was read" in str(caught.value)
    assert next(iter(deeptool.open(broker, session_name).tf()))[1][0] == 1000
