"""The stored dataset as a trial reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from deeptool.reader.read_request import ReadOptions
from deeptool.reader.stored_dataset import StoredDataset
from deeptool.settings import Settings, compare
from deeptool.store.read_meter import ReadMeter
from deeptool.training.batching import Say, last_batches, tell_left_out
from deeptool.training.find_data import find_on_broker, find_sealed
from deeptool.training.trial_data import (
    Beginning,
    EpochClock,
    Planned,
    TrialData,
    length,
    read_ahead,
    start,
    validation,
)
from deeptool.training.trial_source import TrialSource

if TYPE_CHECKING:
    from typing_extensions import Unpack


def from_kafka(
    settings: Settings,
    source: TrialSource,
    proc_id: int | None,
    begins: Beginning,
    say: Say,
    on_wait: Say,
) -> TrialData:
    """The stored dataset that fits the settings, shuffled in each epoch by random_seed.

    With ``source.online``, the training set may be one that is still being uploaded: its first pass
    is read in the order of its arrival.

    Parameters
    ----------
    proc_id : int or None
        The variant to read; None finds the one made under this trial's data hparams, or takes all
        shards.
    begins : callable
        Where the trial begins, for a dataset that is read in such an order.
    say : callable
        Called with what differs from the upload without harm.
    on_wait : callable
        Called about once a second with what is missing.

    Raises
    ------
    UserError
        No broker answers, or the sealed dataset is not one to read; no such dataset is complete
        (or, online, begun), none was made under this trial's data hparams, or it cannot be read as
        the settings ask.
    """
    if source.sealed is not None:
        found = find_sealed(settings, proc_id, source.sealed)
    else:
        found = find_on_broker(settings, proc_id, source, on_wait)
    # From here on the catalog is not asked again: what is checked below is what is read.
    meter = ReadMeter()
    train, val = (
        StoredDataset(found.store, stored, follow=not stored.complete, meter=meter)
        for stored in (found.train, found.val)
    )
    if len(train.proc_ids) == 1:
        proc_id = train.proc_ids[0]
    for data in (train, val):
        for warning in compare(settings, data.stored.begun, data.hparams, data.stored.pipeline):
            say(f"{data.split}: {warning}")
    arrival = None
    if not train.complete:
        arrival = found.arrival(settings)
        say("train: is still being uploaded, and is read as it arrives")

    batching = source.batching(settings)
    how, how_val = batching.of_stored(train), batching.of_stored(val)
    for data, options in ((train, how), (val, how_val)):
        tell_left_out(data, options, say)

    def shuffled(**where: Unpack[ReadOptions]) -> Any:
        return train.tf(
            **{**how, **where},
            shuffle=True,
            seed=settings.random_seed,
            reader=source.reader,
            order=source.order,
            cache=source.cache,
        )

    # Arrival order is of this process alone, and tensorflow-io would read a part of it again.
    order = None
    if train.complete and source.reader == "librdkafka":
        order = {"uploads": list(train.upload_ids), "deeptool": version("deeptool")}
    clock = EpochClock(*begins(order))
    counts = [train.elements(k, **how) for k in range(train.epochs if train.complete else 0)]
    steps = settings.steps_per_epoch or None
    if steps:
        begin, skip = 0, clock.epoch * steps + clock.batch
        known = [count for count in counts if count is not None]
        if settings.get_online_pipeline is None and known and None not in counts:
            batches = whole = shuffled(start=start(skip, known), repeat=None)
        else:
            if known and None not in counts:
                one_round = settings.online(shuffled(repeat=train.epochs), True)
                if int(one_round.cardinality()) == sum(known):
                    begin, skip = start(skip, known)
            endless = settings.online(shuffled(first_epoch=begin, repeat=None), True)
            batches = whole = endless.skip(skip)
    else:
        batches = whole = settings.online(shuffled(first_epoch=clock), True)
        if clock.batch and settings.get_online_pipeline is None:
            batches = shuffled(start=clock.position)
        elif clock.batch:
            batches = _skipping(whole, lambda: clock.batch)
    in_order = val.tf(
        **how_val,
        # Every epoch is validated on the same samples.
        first_epoch=lambda: 0,
        repeat=None if settings.validation_steps else 1,
        reader=source.reader,
        cache=source.cache,
    )
    total = steps or length(whole, "steps_per_epoch")
    if total is None:
        one_pass = shuffled(first_epoch=clock)
        counts = [_online_batches(settings, one_pass, count) for count in counts]
    planned = _planned(total, counts)
    ahead = read_ahead(batches)
    if total is None or (clock.batch and not steps):
        # Where the first epoch was begun before, TensorFlow knows no number that all of them have.
        ahead.cardinality = lambda: _cardinality(planned(clock.epoch))
    return TrialData(
        train=ahead,
        val=validation(settings.online(in_order, False), settings.validation_steps),
        steps=steps,
        planned=planned,
        clock=clock,
        meter=meter,
        proc_id=proc_id,
        facts={
            "from": "kafka" if source.sealed is None else "sealed",
            "servers": list(found.servers),
            "sealed": source.sealed,
            "topics": [*train.topics, *val.topics],
            "uploads": [*train.upload_ids, *val.upload_ids],
            "samples": {data.split: len(data) if data.complete else None for data in (train, val)},
            "element_spec": [str(leaf) for leaf in train.spec.leaves],
        },
        arrival=arrival,
        last_batches=last_batches(train, how) | last_batches(val, how_val)
        if settings.get_online_pipeline is None
        else frozenset(),
        order=order,
    )


def _planned(total: int | None, counts: Sequence[int | None]) -> Planned:
    """`total`, or the batches of the stored passes in turn."""
    if total is not None or not counts:
        return lambda epoch: total
    return lambda epoch: counts[epoch % len(counts)]


def _online_batches(settings: Settings, one_pass: Any, count: int | None) -> int | None:
    """What get_online_pipeline makes of so many batches, as far as its cardinality says."""
    import tensorflow as tf

    if count is None:
        return None
    counted = one_pass.apply(tf.data.experimental.assert_cardinality(count))
    return length(settings.online(counted, True), "steps_per_epoch")


def _cardinality(count: int | None) -> Any:
    import tensorflow as tf

    return tf.constant(tf.data.UNKNOWN_CARDINALITY if count is None else count, tf.int64)


def _skipping(dataset: Any, count: Callable[[], int]) -> Any:
    """The same dataset without its first batches: as many as `count` says when an iterator begins.

    They are made all the same, as long as it takes: the rest then is what it would have been.
    """
    import tensorflow as tf

    skipped = tf.data.Dataset.range(1).map(
        lambda zero: tf.numpy_function(lambda _: np.int64(count()), [zero], tf.int64)
    )
    behind = skipped.flat_map(lambda number: dataset.skip(tf.reshape(number, ())))
    # Those of a dataset within another one are not asked.
    return behind.with_options(dataset.options())
