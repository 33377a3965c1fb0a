"""Which pipelines can be shared out by taking every n-th element."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from deeptool.errors import UserError
from deeptool.pipelines.deterministic_order import check_deterministic

Data = tf.data.Dataset


def unordered(dataset: Data) -> Data:
    options = tf.data.Options()
    options.deterministic = False
    return dataset.with_options(options)


REFUSED: dict[str, tuple[Callable[[], Data], str]] = {
    "shuffle": (lambda: Data.range(9).shuffle(3).batch(2), "ShuffleDatasetV3 has no seed"),
    "within interleave": (
        lambda: Data.range(9).interleave(lambda i: Data.range(i).shuffle(3)),
        "has no seed",
    ),
    "options": (lambda: unordered(Data.range(9).batch(2)), "options.deterministic is False"),
    "map": (
        lambda: Data.range(9).map(lambda i: i, num_parallel_calls=2, deterministic=False),
        "ParallelMapDatasetV2 has deterministic=False",
    ),
    "sample": (lambda: Data.sample_from_datasets([Data.range(3), Data.range(3)]), "has no seed"),
    "list_files": (lambda: Data.list_files(str(Path(__file__).parent / "*.py")), "has no seed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_orders_that_differ_are_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(UserError, match="same in every process") as caught:
        check_deterministic(make())
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["shuffle", "within interleave", "sample", "list_files"])
def test_a_global_seed_is_enough(name: str) -> None:
    tf.random.set_seed(4)
    check_deterministic(REFUSED[name][0]())


def test_seeded_and_plain_pipelines_pass() -> None:
    files = str(Path(__file__).parent / "*.py")
    check_deterministic(Data.range(9).batch(2))
    check_deterministic(Data.range(9).map(lambda i: i * 2, num_parallel_calls=2).prefetch(2))
    check_deterministic(Data.range(9).shuffle(3, seed=0).repeat(2).batch(2))
    check_deterministic(Data.list_files(files, shuffle=False).interleave(tf.data.TextLineDataset))
    check_deterministic(Data.list_files(files, seed=3).cache())
    check_deterministic(
        Data.from_generator(lambda: iter(range(3)), output_signature=tf.TensorSpec([], tf.int64))
    )
