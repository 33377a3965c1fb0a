"""Batches of a pass, several in one array: so what is paid for each array is paid for many batches.

For TensorFlow, but without it: it may write to the arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np

from deeptool.codec.array_blocks import LEAST_BYTES, empty_array, is_aligned, writable
from deeptool.codec.values import Array, Leaves, rows, slice_rows
from deeptool.reader.read_request import Position
from deeptool.rows.element_form import ElementForm
from deeptool.rows.pass_rows import pass_rows
from deeptool.rows.read_plan import ReadPlan
from deeptool.store.read_meter import ReadMeter

# Of a piece that is joined from smaller chunks; more makes no pass faster.
_PIECE_BYTES = 4 << 20


def pieces_of_passes(
    plan: ReadPlan, form: ElementForm, meter: ReadMeter, begin: Position, repeat: int | None
) -> Generator[Leaves, None, None]:
    """Pieces of all passes of an iterator; none holds samples of two passes.

    Parameters
    ----------
    form : ElementForm
        All leaves of its rows are dense.
    begin : Position
        Behind which element of which pass the iterator begins.
    repeat : int or None
        How many passes it makes.

    Yields
    ------
    tuple of ndarray, shape (batches, batch size, ...)
        The last one of a pass may be a smaller batch. Without a batch size: shape (samples, ...).
    """
    skipped = begin.element * (form.batch_size or 1)
    for k in itertools.islice(itertools.count(begin.epoch), repeat):
        with closing(pass_rows(plan, form, k, meter, skipped)) as chunks:
            if form.batch_size is None:
                for chunk in chunks:
                    yield _joined([chunk])
            else:
                # What arrives slowly waits for no more than its batch.
                batches = _batches_in(_PIECE_BYTES, plan, form) if plan.stored.complete else 1
                yield from batch_pieces(chunks, form.batch_size, form.drop_remainder, batches)
        skipped = 0


def batch_pieces(
    chunks: Iterable[Leaves], size: int, drop_remainder: bool, batches: int
) -> Iterator[Leaves]:
    """The rows of dense chunks as pieces of at least `batches` whole batches of `size` rows.

    The first pieces are smaller, so that the first batch comes early.
    """
    waiting: list[Leaves] = []
    held, wanted = 0, size
    for chunk in chunks:
        waiting.append(chunk)
        held += rows(chunk)
        if held >= wanted:
            rest = held % size
            stop = rows(chunk) - rest
            yield _piece([*waiting[:-1], slice_rows(chunk, 0, stop)], size)
            waiting, held = [slice_rows(chunk, stop, stop + rest)] if rest else [], rest
            wanted = min(2 * wanted, batches * size)
    if held >= size:
        joined = _joined(waiting)
        yield _piece([slice_rows(joined, 0, held - held % size)], size)
        waiting, held = [slice_rows(joined, held - held % size, held)], held % size
    if held and not drop_remainder:
        yield _piece(waiting, held)


def _batches_in(size: int, plan: ReadPlan, form: ElementForm) -> int:
    return max(1, size // (plan.row_bytes * (form.batch_size or 1)))


def _piece(parts: Sequence[Leaves], size: int) -> Leaves:
    return tuple(value.reshape(-1, size, *value.shape[1:]) for value in _joined(parts))


def _joined(parts: Sequence[Leaves]) -> tuple[Array, ...]:
    columns = zip(*parts, strict=True)
    return tuple(_concatenated([np.asarray(value) for value in column]) for column in columns)


def _concatenated(values: Sequence[Array]) -> Array:
    """Copied, unless it is one array that TensorFlow uses in place, or copies itself at no cost."""
    first = values[0]
    if len(values) == 1 and (first.nbytes < LEAST_BYTES or is_aligned(first)):
        return writable(first)
    shape = (sum(map(len, values)), *first.shape[1:])
    return np.concatenate(values, out=empty_array(shape, first.dtype))
