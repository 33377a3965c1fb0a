"""The stages of real tf.data pipelines: which there are, what they yield, where the time goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from deeptool.pipelines.iterator_model import has_model
from deeptool.pipelines.stage_times import PipelineCost, pipeline_cost

needs_model = pytest.mark.skipif(
    not has_model(), reason="this TensorFlow shows no iterator's model"
)
SECONDS = 0.5


def measured(dataset: Any, limit: int | None = None) -> PipelineCost:
    def count(element: Any) -> int:
        return int(tf.nest.flatten(element)[0].shape[0])

    return pipeline_cost(dataset, count, SECONDS, limit)


def kinds(cost: PipelineCost) -> list[str]:
    return [stage.kind for stage in cost.stages]


def wait(value: Any) -> Any:
    time.sleep(0.002)
    return np.float32(value)


def slow(value: Any) -> Any:
    return tf.ensure_shape(tf.numpy_function(wait, [value], tf.float32), [])


def augment(value: Any) -> Any:
    return tf.random.normal((64,)) + tf.cast(value, tf.float32)


@needs_model
def test_the_time_is_where_the_work_is() -> None:
    cost = measured(tf.data.Dataset.range(10_000).map(slow).batch(8).prefetch(2))
    assert kinds(cost) == ["Range", "Map", "BatchV2", "Prefetch"]
    assert cost.stages[1].function == "slow"
    assert 0.002 <= cost.stages[1].seconds < 0.02
    assert sum(stage.seconds for stage in cost.stages) < 1.5 * cost.stages[1].seconds
    # It sleeps: that takes time, but no CPU.
    assert cost.cpu_seconds < cost.stages[1].seconds / 1.5
    assert not cost.ended


@needs_model
def test_a_buffer_that_swallows_the_whole_source_hides_nothing() -> None:
    images = np.zeros((300, 8, 8), np.float32)
    larger = lambda image: tf.image.resize(image[..., None], (32, 32))  # noqa: E731
    cost = measured(tf.data.Dataset.from_tensor_slices(images).shuffle(300).map(larger).batch(32))
    assert (cost.samples, cost.ended) == (300, True)
    assert kinds(cost) == ["TensorSlice", "ShuffleV3", "Map", "BatchV2"]
    sizes = [stage.bytes for stage in cost.stages]
    assert sizes == pytest.approx([256, 256, 4096, 4096], rel=0.1)
    assert all(stage.seconds > 0 for stage in cost.stages)


@needs_model
def test_an_endless_pipeline_that_draws_and_drops() -> None:
    even = lambda values: tf.reduce_sum(values) > 0  # noqa: E731
    dataset = tf.data.Dataset.range(100).repeat().shuffle(50).map(augment).filter(even).batch(16)
    cost = measured(dataset.map(lambda x: tf.cast(x, tf.float16)), limit=64)
    assert (cost.samples, cost.ended) == (64, True)
    named = {stage.kind: stage for stage in cost.stages}
    assert [stage.random for stage in cost.stages if stage.function == "augment"] == [True]
    assert not any(stage.random for stage in cost.stages if stage.function != "augment")
    assert named["BatchV2"].bytes == pytest.approx(256, rel=0.1)
    assert cost.stages[-1].bytes == pytest.approx(128, rel=0.1)
    # Some are dropped, so more than one is drawn for each sample.
    drawn = next(stage for stage in cost.stages if stage.function == "augment")
    assert drawn.bytes >= named["Filter"].bytes * 0.99


@needs_model
def test_a_generator_is_one_stage() -> None:
    def numbers() -> Any:
        for number in range(1000):
            time.sleep(0.001)
            yield np.full(10, number, np.float32)

    signature = tf.TensorSpec((10,), tf.float32)
    cost = measured(tf.data.Dataset.from_generator(numbers, output_signature=signature).batch(10))
    assert kinds(cost) == ["from_generator", "BatchV2"]
    assert cost.stages[0].seconds >= 0.001
    assert cost.stages[0].bytes == pytest.approx(40, rel=0.1)


@needs_model
def test_a_folder_of_images(tmp_path: Path) -> None:
    for number in range(24):
        image = np.full((20, 30, 3), 10 * number, np.uint8)
        (tmp_path / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())

    def decode(path: Any) -> Any:
        return tf.image.resize(tf.io.decode_png(tf.io.read_file(path), 3), (10, 15))

    files = tf.data.Dataset.list_files(str(tmp_path / "*.png"), shuffle=False)
    cost = measured(files.map(decode, num_parallel_calls=2).cache().batch(6))
    assert kinds(cost) == ["TensorSlice", "ParallelMapV2", "CacheV2", "BatchV2"]
    assert cost.stages[-1].bytes == pytest.approx(10 * 15 * 3 * 4, rel=0.2)
    assert max(cost.stages, key=lambda stage: stage.seconds).function == "decode"


@needs_model
def test_files_that_are_interleaved_are_one_stage() -> None:
    def parts(number: Any) -> Any:
        return tf.data.Dataset.range(50).map(lambda x: slow(x + number))

    dataset = tf.data.Dataset.range(40).interleave(parts, cycle_length=4).batch(10)
    cost = measured(dataset)
    assert kinds(cost) == ["Range", "Interleave", "BatchV2"]
    assert cost.stages[1].seconds >= 0.002


@needs_model
def test_where_datasets_meet_is_one_stage() -> None:
    numbers = tf.data.Dataset.range(10_000).map(slow)
    options = tf.data.Options()
    options.deterministic = False
    dataset = tf.data.Dataset.zip((numbers, numbers)).with_options(options).batch(10)
    cost = measured(dataset)
    assert kinds(cost) == ["Zip", "BatchV2"]
    assert cost.stages[0].seconds >= 0.004


def test_an_empty_pipeline() -> None:
    assert measured(tf.data.Dataset.range(0).batch(2)) == PipelineCost((), 0, 0, True, 0.0, 0.0)
