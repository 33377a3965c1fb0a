"""A stored dataset as NumPy arrays, for any framework that takes them. No TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeptool.codec.leaf_groups import parted
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Array, Leaves, Ragged, Value, concat_rows, rows, slice_rows
from deeptool.reader.pass_lengths import elements_of_iterator, elements_of_passes
from deeptool.reader.read_request import Position, ReadRequest
from deeptool.rows.element_form import ElementForm, Padding
from deeptool.rows.pass_rows import decoded_rows, pass_rows
from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.record_order import Samples
from deeptool.store.read_meter import ReadMeter


@dataclass(frozen=True)
class NumpyBatches:
    """The elements of a stored dataset: what `StoredDataset.numpy` returns.

    Each iterator begins with the pass after those of the one before it. ``len()`` is the number of
    elements of an iterator, where it is known and the same for each.

    Attributes
    ----------
    plan : ReadPlan
    form : ElementForm
    meter : ReadMeter
    begin : callable
        Asked for its position whenever an iterator begins.
    request : ReadRequest
    """

    plan: ReadPlan
    form: ElementForm
    meter: ReadMeter
    begin: Callable[[], Position]
    request: ReadRequest

    def __iter__(self) -> Iterator[Any]:
        first, skipped = self.begin()
        for k in itertools.islice(itertools.count(first), self.request.repeat):
            # Batches that come as they were uploaded have sizes of their own.
            skipped_rows = 0 if self.form.whole_batches else skipped * (self.form.batch_size or 1)
            # Closed when the caller goes on to something else, so that no consumer is left.
            with closing(
                self.meter.metered(pass_rows(self.plan, self.form, k, self.meter, skipped_rows))
            ) as read:
                batches = _batches(decoded(read, self.form), self.form)
                for leaves in itertools.islice(batches, 0 if skipped_rows else skipped, None):
                    yield self.form.spec.nest(leaves)
            skipped = 0

    def __len__(self) -> int:
        repeat = self.request.repeat
        known = self.plan.stored.complete and repeat is not None and self.request.whole_passes
        counts = elements_of_passes(self.plan, self.form) if known else None
        length = elements_of_iterator(counts, None, repeat or 0)
        if length is None:
            raise TypeError("the number of elements is not known, or differs from pass to pass")
        return length


def decoded(chunks: Iterable[Leaves], form: ElementForm) -> Iterator[Leaves]:
    """Rows of the spec's leaves, of whatever pass_rows hands on."""
    if form.codec.graph_parser is None:
        yield from chunks
        return
    decoder = decoded_rows(form)
    for values, keys in chunks:
        pairs: Iterable[Any] = zip(values, keys, strict=True)  # type: ignore[arg-type]
        yield decoder.rows([Samples(key, value, 0, 0, 1) for value, key in pairs])


def _batches(chunks: Iterable[Leaves], form: ElementForm) -> Iterator[list[Any]]:
    """The components of each element."""
    if form.batch_size is None:
        for chunk in chunks:
            for row in range(rows(chunk)):
                yield finished(slice_rows(chunk, row, row + 1), form)
        return
    if not form.whole_batches:
        chunks = _rebatched(chunks, form.batch_size, form.drop_remainder)
    for batch in chunks:
        yield finished(batch, form)


def _rebatched(chunks: Iterable[Leaves], size: int, drop_remainder: bool) -> Iterator[Leaves]:
    """The same rows in batches of `size`; slices of a chunk where one is in it whole."""
    waiting: list[Leaves] = []
    held = 0
    for chunk in chunks:
        start, count = 0, rows(chunk)
        while held + count - start >= size:
            stop = start + size - held
            yield concat_rows([*waiting, slice_rows(chunk, start, stop)])
            waiting, held, start = [], 0, stop
        if start < count:
            waiting.append(slice_rows(chunk, start, count))
            held += count - start
    if waiting and not drop_remainder:
        yield concat_rows(waiting)


def finished(leaves: Leaves, form: ElementForm) -> list[Any]:
    """The components of an element: dense where the spec is, without an axis 0 for a sample."""
    if form.groups:
        leaves = parted(form.groups, leaves)
    finished = []
    for value, path, leaf in zip(leaves, form.spec.paths, form.spec.leaves, strict=True):
        if isinstance(value, Ragged) and not leaf.ragged_rank:
            value = _dense(value, leaf, form.padding.get(path))
        finished.append(_sample(value) if form.batch_size is None else value)
    return finished


def _sample(value: Value) -> Any:
    """The one row of a batch of one."""
    if not isinstance(value, Ragged):
        return value[0]
    if len(value.row_splits) == 1:
        return value.flat_values
    return Ragged(value.flat_values, value.row_splits[1:])


def _dense(value: Ragged, leaf: Leaf, padding: Padding | None) -> Array:
    """Rows of several sizes as one array, filled up at the ends to the largest."""
    if padding is None:
        padding = b"" if leaf.dtype == "string" else 0
    elif isinstance(padding, str):
        padding = padding.encode()
    sizes = [
        int(np.max(np.diff(splits), initial=0)) if known is None else known
        for splits, known in zip(value.row_splits, leaf.shape[1:], strict=False)
    ]
    flat = value.flat_values
    for splits, size in zip(value.row_splits[::-1], sizes[::-1], strict=True):
        lengths = np.diff(splits)
        filled = np.full((len(lengths), size, *flat.shape[1:]), padding, flat.dtype)
        filled[np.arange(size) < lengths[:, np.newaxis]] = flat
        flat = filled
    return flat
