"""What samples cost from cache() and dataset.save(), measured on a pipeline's first elements."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from deeptool.codec.spec import Spec
from deeptool.codec.tensors import leaves_from_tf
from deeptool.pipelines import way_costs
from deeptool.pipelines.way_costs import FirstElements, WayCosts


def measured(dataset: tf.data.Dataset, batched: bool = True) -> WayCosts:
    kept, spec = FirstElements(), Spec.from_tf(dataset.element_spec, batched)
    for element in dataset:
        kept.add(element, leaves_from_tf(element, spec))
    return kept.costs(dataset.element_spec)


DATASETS: dict[str, tuple[Any, bool, int]] = {
    "batches, the last one smaller": (lambda: tf.data.Dataset.range(10).batch(4), True, 10),
    "single samples": (lambda: tf.data.Dataset.range(7), False, 7),
    "strings": (lambda: tf.data.Dataset.from_tensors({"t": tf.constant(["a", "bc"])}), True, 2),
    "ragged": (lambda: tf.data.Dataset.from_tensors(tf.ragged.constant([[1, 2], [3]])), True, 2),
}


@pytest.mark.parametrize("name", DATASETS)
def test_all_ways_of_any_samples(name: str) -> None:
    make, batched, samples = DATASETS[name]
    found = measured(make(), batched)
    assert (found.samples, found.failed) == (samples, "")
    assert min(found.cache_seconds or 0, found.save_seconds or 0, found.load_seconds or 0) > 0


def test_few_elements_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way_costs, "_MOST_ELEMENTS", 3)
    assert measured(tf.data.Dataset.range(100).batch(2)).samples == 6
    monkeypatch.setattr(way_costs, "_MOST_BYTES", 32)
    assert measured(tf.data.Dataset.range(100).batch(2)).samples == 4


def test_elements_that_are_too_large_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way_costs, "_MOST_BYTES", 7)
    found = measured(tf.data.Dataset.range(4).batch(2))
    assert (found.samples, found.cache_seconds) == (0, None)
    assert found.failed == "its first element has more than 7 bytes"


def test_what_cannot_be_saved_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, path: str) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.data.Dataset, "save", full)
    found = measured(tf.data.Dataset.range(4).batch(2))
    assert found.cache_seconds is not None
    assert (found.save_seconds, found.failed) == (None, "OSError: no space left on device")
