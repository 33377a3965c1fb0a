"""Rows of one pass, fetched in TensorFlow's graph by tensorflow-io's low-level operations.

What its public datasets do with these operations loses records: a read of one record returns none,
and a second read on one resource may return fewer than asked for, without an error. So each range
has a resource of its own, ranges of one record are read with a neighbour, and all are counted.

tensorflow-io cannot read headers. It relies on the catalog: inside the runs of offsets that were
acknowledged to an upload there are no other records, as long as the upload is the current one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.fold import TopicState
from deeptool.client import admin
from deeptool.client.connection import Connection
from deeptool.codec.array_blocks import writable
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Ragged, rows
from deeptool.errors import UserError, WorkError
from deeptool.rows.element_form import ElementForm
from deeptool.rows.pass_rows import decoder_for
from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.record_order import Samples
from deeptool.rows.row_bytes import row_bytes
from deeptool.store.kafka_store import KafkaStore
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import replaced_while_read

# A consumer for each costs 60 ms.
_BLOCK_BYTES = 16 << 20
# What librdkafka's seek takes for the start of a partition.
_BEGINNING = -2
_ALL = 2**62
# TensorFlow's own around a row in its shuffle buffer.
_ROW_OVERHEAD = 256
_SETTINGS = (
    "conf.topic.auto.offset.reset=error",
    "enable.auto.commit=false",
    # A consumer that is closed waits for its last fetch, and that for records to come.
    "fetch.wait.max.ms=10",
    # librdkafka of that age takes it for the time to wait while its queue is full as well.
    "fetch.error.backoff.ms=10",
    "queued.max.messages.kbytes=16384",
    "check.crcs=true",
    # tensorflow-io frees the callback for log lines before its consumer's threads end: a line that
    # came after that (the broker closes a connection) would crash the process.
    "log_level=0",
)


@dataclass(frozen=True)
class TfioRows:
    """Rows of a complete dataset, pass by pass; blocks in a fixed or seeded order.

    Raises
    ------
    UserError
        tensorflow-io is not installed, or the dataset needs what it cannot do.
    """

    plan: ReadPlan
    form: ElementForm
    meter: ReadMeter
    _log: CatalogLog = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.plan.store, KafkaStore):
            raise UserError(
                "tensorflow-io reads from Kafka only",
                seen=f"a dataset in {type(self.plan.store).__name__}",
                next_step="use reader='librdkafka'",
            )
        _operations()
        _metadata(self._connection)
        object.__setattr__(self, "_log", CatalogLog(self._connection))
        selected = self.plan.selection.rows is not None
        if self.plan.num_shards > 1 or self.form.as_stored or selected:
            raise UserError(
                "tensorflow-io reads no headers, and so neither a part of a pass, nor selected "
                "rows, nor batches of unknown dimensions as they were uploaded",
                seen=f"num_shards={self.plan.num_shards}; {self.form.spec}"
                + ("; selected rows" if selected else ""),
                next_step="use reader='librdkafka'"
                + (", or give a padding_value" if self.form.as_stored else ""),
            )

    @property
    def _connection(self) -> Connection:
        return cast(KafkaStore, self.plan.store).connection

    @property
    def skips(self) -> bool:
        return False

    def rows(self, k: Any, skipped: Any) -> Any:
        """The chunks of pass k, as a ``tf.data.Dataset``."""
        import tensorflow as tf

        kinds = (tf.string, tf.int64, tf.int64, tf.int64, tf.int64)
        ranges = tf.numpy_function(self._ranges, [k], kinds)
        for column in ranges:
            column.set_shape([None])
        dataset = tf.data.Dataset.from_tensor_slices(tuple(ranges)).map(self._read)
        if self.form.codec.graph_parser is None:
            dataset = dataset.unbatch().map(self._decode)
        return dataset if self.plan.seed is None else self._shuffled(dataset, k)

    def _ranges(self, k: Array) -> tuple[Array, ...]:
        """Topics, partitions, where to start and stop, and how many records to leave out first."""
        with self.meter.working():
            planned = replace(self.plan, least_block=_BLOCK_BYTES).plan(int(k))
            starts = {
                shard.topic: admin.start_offsets(self._connection, shard.topic)
                for shard in planned.shards
            }
            found = []
            for block in planned.order:
                start, skip = block.start, 0
                if len(block) == 1 and start == starts[block.lane.topic][block.lane.partition]:
                    start = _BEGINNING
                elif len(block) == 1:
                    start, skip = start - 1, 1
                found.append((*block.lane, start, block.stop, skip))
            topics, *numbers = zip(*found, strict=True)
            return (
                np.array(topics, dtype=object),
                *(np.array(column, dtype=np.int64) for column in numbers),
            )

    def _read(self, topic: Any, partition: Any, start: Any, stop: Any, skip: Any) -> Any:
        import tensorflow as tf

        operations = _operations()
        resource = operations.io_kafka_readable_init(
            topic,
            tf.cast(partition, tf.int32),
            # Not _BEGINNING: it must be looked up, and until then the read below fails.
            offset=tf.where(start == _BEGINNING, stop - 1, start),
            metadata=_metadata(self._connection),
        )
        found = operations.io_kafka_readable_read(resource, start=start, stop=stop)
        values, keys = found.message[skip:], found.key[skip:]
        size = tf.reduce_sum(tf.strings.length(values)) + tf.reduce_sum(tf.strings.length(keys))
        place = [topic, partition, start, stop, skip]
        seen = tf.numpy_function(
            self._count, [tf.shape(values, tf.int64)[0], size, *place], tf.int64
        )
        with tf.control_dependencies([seen]):
            return tf.identity(values), tf.identity(keys)

    def _count(self, seen: Any, size: Any, topic: Any, *place: Any) -> Any:
        partition, start, stop, skip = map(int, place)
        valid = 1 if start == _BEGINNING else stop - start - skip
        with self.meter.working():
            if int(seen) != valid:
                raise WorkError(
                    "tensorflow-io did not deliver all records of a range",
                    seen=f"{seen} records of topic {topic.decode()}, partition {partition}, before "
                    f"offset {stop}",
                    valid=str(valid),
                    next_step="deeptool check finds out whether they are there; "
                    "reader='librdkafka' reads them in another way",
                )
            self._check_unchanged(topic.decode())
            # One sample per record where TensorFlow parses it; else `_decode` counts them.
            parsed = self.form.codec.graph_parser is not None
            self.meter.count(records=valid, samples=valid if parsed else 0, size=int(size))
        return np.int64(valid)

    def _check_unchanged(self, topic: str) -> None:
        """Whether what was just read is of the upload that is to be read.

        Without headers only the catalog says so, and only as long as the upload is the topic's
        current one: in a topic that was deleted and made again, other records have its offsets.
        """
        state = self._log.read().get(topic, TopicState())
        wanted = {shard.topic: shard.upload.id for shard in self.plan.stored.shards}[topic]
        if state.current is None or state.current.id != wanted:
            seen = state.current.id if state.current else "nothing"
            raise replaced_while_read(topic, f"upload {seen} is stored there now, not {wanted}")

    def _decode(self, value: Any, key: Any) -> Any:
        """One record's rows, by the Python codec."""
        import tensorflow as tf

        decoder = decoder_for(self.form)
        leaves = decoder.spec.leaves

        def decoded(value: bytes, key: bytes) -> list[Array]:
            with self.meter.working():
                found = decoder.rows([Samples(key or None, value, 0, 0, _ALL)])
                self.meter.count(samples=rows(found))
                return [writable(array) for column in found for array in _arrays(column)]

        kinds = [kind for leaf in leaves for kind in _kinds(leaf)]
        arrays = iter(tf.numpy_function(decoded, [value, key], kinds))
        columns = [_column(leaf, arrays) for leaf in leaves]
        return decoder.spec.nest(columns)

    def _shuffled(self, chunks: Any, k: Any) -> Any:
        """TensorFlow's own shuffle, row by row."""
        decoder = decoder_for(self.form)
        leaves = decoder.spec.leaves
        each = row_bytes(leaves, self.plan.sample_bytes) + _ROW_OVERHEAD
        held = max(1, int(self.plan.memory.buffer / each))
        seed = (self.plan.seed or 0) % 2**63
        dataset = chunks.unbatch().shuffle(held, seed=k + seed, reshuffle_each_iteration=False)
        size = self.form.batch_size or 1
        if all(leaf.fixed for leaf in leaves):
            return dataset.batch(size)
        return dataset.ragged_batch(size)


def _operations() -> Any:
    try:
        from tensorflow_io.python.ops import core_ops

        # They are loaded when one is asked for.
        core_ops.io_kafka_readable_init  # noqa: B018
    except (ImportError, NotImplementedError, AttributeError) as error:
        raise UserError(
            "reader='tfio' needs tensorflow-io, and the TensorFlow that it was made for",
            seen=str(error).splitlines()[0] if str(error) else type(error).__name__,
            valid="the packages of constraints/tfio.txt (the extra `tfio`)",
            next_step="use reader='librdkafka'; or `make test-tfio`, which makes .venv-tfio",
        ) from error
    return core_ops


def _metadata(connection: Connection) -> list[str]:
    """The settings as tensorflow-io takes them."""
    for name, value in connection.properties.items():
        if "=" in value:
            raise UserError("tensorflow-io takes no setting with a '=' in its value", seen=name)
    given = [f"{name}={value}" for name, value in connection.properties.items()]
    return [f"bootstrap.servers={','.join(connection.servers)}", *_SETTINGS, *given]


def _arrays(value: Array | Ragged) -> list[Array]:
    return [value.flat_values, *value.row_splits] if isinstance(value, Ragged) else [value]


def _kinds(leaf: Leaf) -> list[Any]:
    import tensorflow as tf

    return [tf.as_dtype(leaf.dtype)] + [tf.as_dtype(leaf.row_splits_dtype)] * leaf.ragged_rank


def _column(leaf: Leaf, arrays: Any) -> Any:
    import tensorflow as tf

    flat = next(arrays)
    flat.set_shape([None, *leaf.inner])
    splits = [next(arrays) for _ in range(leaf.ragged_rank)]
    for one in splits:
        one.set_shape([None])
    if not splits:
        return flat
    return tf.RaggedTensor.from_nested_row_splits(flat, splits, validate=False)
