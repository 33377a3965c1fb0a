"""The rows of one pass, by librdkafka: what TensorFlow calls as a Python generator."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from deeptool.codec.spec import Spec
from deeptool.codec.tensors import leaves_to_tf
from deeptool.codec.values import Leaves
from deeptool.reader import batches
from deeptool.reader.batches import DecodedRows, Decoder, SerializedRows
from deeptool.reader.graph import Form
from deeptool.reader.rowbuffer import RowBuffer
from deeptool.store.librdkafka import Fetcher
from deeptool.store.read_meter import ReadMeter
from deeptool.store.reading import Pass, Reading
from deeptool.store.record_order import Samples, in_plan_order, in_sample_order


def decoder_for(form: Form) -> Decoder:
    """What makes rows of the records, so that `deeptool.reader.graph` makes elements of them."""
    if form.codec.graph_parser is not None:
        return SerializedRows()
    return DecodedRows(form.codec, ragged=not form.as_stored)


@dataclass(frozen=True)
class Source:
    """Rows of a complete dataset, pass by pass."""

    reading: Reading
    form: Form
    meter: ReadMeter

    def rows(self, k: int) -> Any:
        """The chunks of pass k, as a ``tf.data.Dataset``."""
        import tensorflow as tf

        return tf.data.Dataset.from_generator(
            lambda number: self.meter.metered(self.generate(int(number))),
            args=(k,),
            output_signature=decoder_for(self.form).spec.to_tf(),
            name="kafka",
        ).prefetch(2)

    def generate(self, k: int) -> Generator[Any, None, None]:
        """The chunks of pass k, as tensors."""
        planned = self.reading.plan(k)
        with Fetcher(
            self.reading.connection,
            planned.order,
            window=planned.window,
            queue_bytes=self.reading.memory.queue,
            meter=self.meter,
        ) as fetcher:
            ordered = in_sample_order if self.reading.seed is None else in_plan_order
            records = ordered(planned.order, planned.shards, fetcher.take)
            leaves = self._leaves(records, planned)
            yield from as_tensors(leaves, decoder_for(self.form).spec)

    def _leaves(self, records: Iterable[Samples], planned: Pass) -> Iterator[Leaves]:
        form, reading, decoder = self.form, self.reading, decoder_for(self.form)
        memory, shuffled = reading.memory.buffer, reading.seed is not None
        if form.whole_batches and form.batch_size:
            chunks = batches.gathered(records, decoder, 0)
            pieces = batches.stored_batches(chunks, form.batch_size)
            batch_bytes = reading.sample_bytes * form.batch_size
            if shuffled:
                return batches.shuffled_batches(pieces, memory, batch_bytes, planned.rng)
            return pieces
        chunks = batches.gathered(records, decoder, batches.CHUNK_BYTES)
        if shuffled:
            buffer = RowBuffer(
                decoder.spec.leaves, memory, reading.sample_bytes, planned.samples, planned.rng
            )
            return batches.shuffled(chunks, buffer)
        return (chunk.leaves for chunk in chunks)


def as_tensors(chunks: Iterable[Leaves], spec: Spec) -> Generator[Any, None, None]:
    """Chunks of rows as TensorFlow's generators are to yield them."""
    import tensorflow as tf

    for leaves in chunks:
        # On a machine with a GPU, TensorFlow would put them there.
        with tf.device("CPU"):
            tensors = leaves_to_tf(leaves, spec)
        yield tensors
