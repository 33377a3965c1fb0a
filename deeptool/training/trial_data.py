"""What a trial trains on: each epoch whole, however many iterators Keras makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from deeptool.client.topic_names import Split
from deeptool.errors import UserError
from deeptool.settings import Settings
from deeptool.training.batching import Say
from deeptool.training.trial_source import TrialSource

# More steps than any epoch has: it ends with its data.
UNBOUNDED = 2**40

# From an epoch's number to its batches, None where nobody knows.
Planned = Callable[[int], int | None]

# From `TrialData.order` to the epoch and its batch that the trial begins with, both from 0.
Beginning = Callable[[dict[str, Any] | None], tuple[int, int]]


class Meter(Protocol):
    """What was read so far: `deeptool.reader.ReadMeter`, or `SampleMeter` without Kafka."""

    @property
    def samples(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def cpu_seconds(self) -> float | None: ...
    def raising(self) -> AbstractContextManager[None]:
        """Around what iterates: the errors of reading come out as they were raised."""
        ...


class Arriving(Protocol):
    """A training set that is still being uploaded: `deeptool.training.arrival.Arrival`."""

    complete: bool

    def check(self) -> None: ...


@dataclass
class EpochClock:
    """The epoch that training is in, from 0: asked whenever an iterator begins.

    Attributes
    ----------
    batch : int
        The batches of it that need not be read: an earlier process trained on them.
    """

    epoch: int = 0
    batch: int = 0

    def __call__(self) -> int:
        return self.epoch

    def position(self) -> tuple[int, int]:
        return self.epoch, self.batch

    def enter(self, epoch: int) -> None:
        """An epoch begins; only the first one may have been begun before."""
        if epoch != self.epoch:
            self.epoch, self.batch = epoch, 0


@dataclass(frozen=True)
class TrialData:
    """Datasets as `keras.Model.fit` takes them.

    Attributes
    ----------
    train : tf.data.Dataset
        Of batches. With `steps` it has no end and begins where the trial does; else each iterator
        is the epoch that `clock` says.
    val : tf.data.Dataset
        The same samples in the same order each time.
    steps : int or None
        Batches per epoch; None where the data say it.
    planned : callable of int
        Batches of an epoch, from 0, as far as is known beforehand; None where it is not.
    clock : EpochClock
        To be set before each epoch. Its `batch` is where the first one begins.
    meter : Meter
        Counts training and validation together.
    proc_id : int or None
        The variant; None for shards and for a pipeline without procID.
    facts : dict
        For ``config.json``.
    arrival : Arriving or None
        To be checked after each epoch, where training began before the upload had ended.
    last_batches : frozenset of int
        Sizes of batches that are smaller than the others, as far as they are known.
    order : dict or None
        What decides, beside the settings, which sample comes when, as JSON: a trial that reads in
        the same order can resume inside an epoch. None where reading cannot begin there.
    """

    train: Any
    val: Any
    steps: int | None
    planned: Planned
    clock: EpochClock
    meter: Meter
    proc_id: int | None
    facts: dict[str, Any]
    arrival: Arriving | None = None
    last_batches: frozenset[int] = frozenset()
    order: dict[str, Any] | None = None


def from_pipeline(
    settings: Settings,
    first_epoch: int,
    source: TrialSource | None = None,
    say: Say = lambda _: None,
) -> TrialData:
    """The settings' own pipeline, one pass per epoch, in whatever order it yields.

    Its batches are its own. Single samples (``batched = False``) are batched as those of a stored
    dataset are.

    Raises
    ------
    UserError
        It has no end, and steps_per_epoch or validation_steps does not give it one.
    """
    meter = SampleMeter()

    def passes(split: Split) -> Any:
        dataset = settings.pipeline(split)
        if not settings.batched:
            batching = (source or TrialSource()).batching(settings)
            dataset = batching.of_samples(dataset, split, say)
        return settings.online(dataset, split == "train")

    train, val = passes("train"), passes("val")
    steps = settings.steps_per_epoch or None
    if steps:
        train = train.repeat().skip(first_epoch * steps)
    clock = EpochClock(first_epoch)
    total = steps or length(train, "steps_per_epoch")
    return TrialData(
        train=read_ahead(meter.counting(train)),
        val=meter.counting(validation(val, settings.validation_steps)),
        steps=steps,
        planned=lambda epoch: total,
        clock=clock,
        meter=meter,
        proc_id=settings.hparams.get("procID"),
        facts={"from": "pipeline"},
    )


def start(batch: int, counts: Sequence[int]) -> tuple[int, int]:
    """The pass that holds a batch of an endless reading, and the batches before it in that pass.

    Parameters
    ----------
    batch : int
        From 0.
    counts : sequence of int
        Batches of each stored pass; pass k holds ``counts[k % len(counts)]``.
    """
    rounds, rest = divmod(batch, sum(counts))
    first = rounds * len(counts)
    for count in counts:
        if rest < count:
            break
        first, rest = first + 1, rest - count
    return first, rest


class SampleMeter:
    """Counts the samples that pass through a dataset."""

    records = 0
    bytes = 0
    cpu_seconds = None

    def __init__(self) -> None:
        import tensorflow as tf

        with tf.device("CPU"):
            self._samples = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def samples(self) -> int:
        return int(self._samples.numpy())

    def raising(self) -> AbstractContextManager[None]:
        """A pipeline's errors are TensorFlow's own."""
        return nullcontext()

    def counting(self, dataset: Any) -> Any:
        """The same dataset, counted while it is iterated."""
        import tensorflow as tf

        def rows(batch: Any) -> Any:
            if isinstance(batch, tf.RaggedTensor):
                return batch.nrows(tf.int64)
            if isinstance(batch, tf.SparseTensor):
                return batch.dense_shape[0]
            return tf.shape(batch, tf.int64)[0]

        def count(*batch: Any) -> Any:
            components = tf.nest.flatten(batch)
            self._samples.assign_add(rows(components[0]))
            # The names of a named tuple are lost on the way here.
            return tf.nest.pack_sequence_as(dataset.element_spec, components)

        return dataset.map(count)


def length(dataset: Any, name: str) -> int | None:
    """The batches of a dataset that is to end, as far as is known.

    Raises
    ------
    UserError
        It never ends: the setting `name` has to say where an epoch does.
    """
    cardinality = int(dataset.cardinality())
    if cardinality == -1:
        raise UserError(
            f"the pipeline never ends, and {name} is 0",
            next_step=f"set {name} in the settings file, or let the pipeline end",
        )
    return cardinality if cardinality >= 0 else None


def read_ahead(dataset: Any) -> Any:
    """The same dataset, prepared while a batch is trained on."""
    import tensorflow as tf

    return dataset.prefetch(tf.data.AUTOTUNE)


def to_its_end(dataset: Any) -> Any:
    """The same dataset for ``fit`` alone, which then reads every epoch to its end.

    Where Keras knows no cardinality, it takes the first epoch's number of batches for that of all
    later ones and silently drops what they have beyond it. Callbacks and schedules never see this
    one: they are told what is known (`TrialData.planned`).
    """
    import tensorflow as tf

    # Another object, so that the trial's own dataset keeps saying what it holds.
    whole = dataset.with_options(tf.data.Options())
    whole.cardinality = lambda: UNBOUNDED
    return whole


def validation(dataset: Any, steps: int) -> Any:
    """The first `steps` batches, of as many passes as that takes; 0: all of one."""
    import tensorflow as tf

    if steps:
        dataset = dataset.repeat().take(steps)
    else:
        length(dataset, "validation_steps")
    return dataset.prefetch(tf.data.AUTOTUNE)
