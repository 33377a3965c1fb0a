"""How far an upload goes into a pipeline, and which part of it is this process's."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator

import pytest
import tensorflow as tf

from deeptool.errors import UserError, WorkError
from deeptool.producer.pipeline_cpu import PipelineCpuMeter
from deeptool.producer.pipeline_samples import PipelineSamples


def source(
    dataset: object,
    *,
    batched: bool = True,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
) -> PipelineSamples:
    return PipelineSamples(
        dataset, batched=batched, limit=limit, shard=shard, meter=PipelineCpuMeter()
    )


def taken(made: PipelineSamples, epoch: int = 0) -> list[list[int]]:
    return [leaves[0].tolist() for leaves in made.batches(epoch)]


def numbers(count: int, batch: int = 4) -> tf.data.Dataset:
    return tf.data.Dataset.range(count).batch(batch)


def test_all_of_it_without_a_limit() -> None:
    assert taken(source(numbers(10))) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(("limit", "sizes"), [(3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_the_last_batch_is_cut_at_the_limit(limit: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in taken(source(numbers(10).repeat(), limit=limit))] == sizes


def test_the_pipeline_is_not_asked_for_more_than_the_limit() -> None:
    asked = []

    def generate() -> Iterator[int]:
        for i in range(100):
            asked.append(i)
            yield i

    dataset = tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec([], tf.int64))
    options = tf.data.Options()
    options.autotune.enabled = False
    made = source(dataset.with_options(options), batched=False, limit=3)
    assert taken(made) == [[0], [1], [2]]
    assert len(asked) == 3


def test_an_early_end_is_a_warning_with_both_numbers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        taken(source(numbers(10), limit=11))
        assert "after 10 samples, before the limit of 11" in caplog.text
        caplog.clear()
        taken(source(numbers(10), limit=10))
        assert caplog.text == ""


def test_shards_share_out_the_elements_up_to_the_limit_of_all() -> None:
    parts = [taken(source(numbers(30), limit=17, shard=(i, 3))) for i in range(3)]
    assert parts == [
        [[0, 1, 2, 3], [12, 13, 14, 15]],
        [[4, 5, 6, 7], [16]],
        [[8, 9, 10, 11]],
    ]


def test_a_shard_without_an_element() -> None:
    with pytest.raises(WorkError, match="no element for shard 2"):
        taken(source(numbers(8), shard=(2, 3)))


def test_sharding_asks_for_a_deterministic_order() -> None:
    with pytest.raises(UserError, match="same in every process"):
        source(numbers(8).shuffle(4), shard=(0, 2))


@pytest.mark.parametrize("number", [-1, None])
def test_infinite_and_unknown(number: int | None) -> None:
    endless = numbers(8).repeat()
    if number is None:
        made = source(numbers(8).filter(lambda batch: True))
        assert made.expected(4) is None
        assert len(taken(made)) == 2
    else:
        with pytest.raises(UserError, match="infinite"):
            source(endless)
        assert source(endless, limit=7).expected(4) == 7


def test_what_is_expected() -> None:
    assert source(numbers(10)).expected(4) == 12
    assert source(numbers(10), limit=9).expected(4) == 9
    assert source(numbers(16), shard=(0, 2)).expected(4) == 8
    assert source(tf.data.Dataset.range(5), batched=False).expected(1) == 5


def test_the_batch_size() -> None:
    assert source(tf.data.Dataset.range(5), batched=False).batch_size() == 1
    assert source(tf.data.Dataset.range(8).batch(4, drop_remainder=True)).batch_size() == 4
    made = source(numbers(10))
    assert made.batch_size() == 4
    # The element that told is not lost.
    assert [i for batch in taken(made) for i in batch] == list(range(10))


def test_a_failure_says_how_far_it_came() -> None:
    def generate() -> Iterator[int]:
        yield from range(6)
        raise OSError("disk on fire\nand more")

    dataset = tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec([], tf.int64))
    seen = []
    with pytest.raises(WorkError, match="failed after 6 samples") as caught:
        seen.extend(leaves[0][0] for leaves in source(dataset, batched=False).batches(0))
    assert seen == list(range(6))
    assert "disk on fire" in str(caught.value.seen)
    assert "\n" not in str(caught.value.seen)


def test_a_pipeline_that_cannot_be_made() -> None:
    def broken(epoch: int) -> tf.data.Dataset:
        raise FileNotFoundError("no such folder: raw")

    with pytest.raises(WorkError, match="could not be built") as caught:
        source(broken)
    assert "FileNotFoundError: no such folder: raw" in str(caught.value)
    with pytest.raises(UserError, match="is not a"):
        source(lambda epoch: [1, 2, 3])


def test_every_epoch_is_made_anew_and_has_to_be_alike() -> None:
    made = source(lambda epoch: numbers(4 + epoch))
    assert taken(made, 0) == [[0, 1, 2, 3]]
    assert taken(made, 1) == [[0, 1, 2, 3], [4]]
    other = source(lambda epoch: numbers(4).map(lambda i: tf.cast(i, tf.int32) if epoch else i))
    taken(other, 0)
    with pytest.raises(WorkError, match="another element_spec"):
        taken(other, 1)


def test_an_empty_epoch() -> None:
    with pytest.raises(WorkError, match="is empty"):
        taken(source(numbers(4).take(0)))


def test_the_iterator_is_gone_though_a_traceback_lives() -> None:
    """Else the interpreter hangs at its end: TensorFlow's threads wait for it, it for them."""
    made = source(numbers(40))
    watched = []

    def fail() -> None:
        for _ in made.batches(0):
            watched.append(weakref.ref(made._iterator))
            raise KeyError

    with pytest.raises(KeyError) as caught:
        fail()
    made.close()
    gc.collect()
    assert caught.tb is not None
    assert watched[0]() is None
