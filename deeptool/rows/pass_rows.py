"""The rows of one pass as NumPy arrays, from any store: in order, shuffled, or as they arrive.

What every framework's face hands on. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace

import numpy as np

from deeptool.codec.values import Leaves, rows, slice_rows
from deeptool.errors import WorkError
from deeptool.rows import row_chunks
from deeptool.rows.broker_rows import BrokerRows, check_fits, row_bytes_of
from deeptool.rows.copied_pass import CopiedPass
from deeptool.rows.element_form import ElementForm
from deeptool.rows.read_plan import PlannedPass, ReadPlan
from deeptool.rows.record_order import Samples, in_plan_order, in_sample_order
from deeptool.rows.row_buffer import RowBuffer
from deeptool.rows.row_chunks import DecodedRows, Decoder, JoinedRows, SerializedRows
from deeptool.rows.rows_in_sequence import rows_in_sequence
from deeptool.store.read_meter import ReadMeter
from deeptool.store.record_store import ArrivingRecords


def decoder_for(form: ElementForm) -> Decoder:
    """What turns records into the rows that `deeptool.reader.tf_elements` makes elements of."""
    if form.codec.graph_parser is not None:
        return SerializedRows()
    if form.groups:
        return JoinedRows(form.codec, form.groups, form.columns)
    return decoded_rows(form)


def decoded_rows(form: ElementForm) -> DecodedRows:
    """What decodes records outside TensorFlow, to rows that can stand in one batch."""
    ragged = not (form.as_stored or form.uniform)
    return DecodedRows(form.codec, ragged, form.columns)


def pass_rows(
    plan: ReadPlan, form: ElementForm, k: int, meter: ReadMeter, skipped: int = 0
) -> Generator[Leaves, None, None]:
    """Chunks of the rows of pass k, each row once.

    While the uploads that the plan names are under way, every pass reads their first stored epoch
    in the order of arrival; once they are complete, passes are read as planned.

    Parameters
    ----------
    skipped : int
        So many rows at the beginning are left out, and few of them are read. Not for batches that
        come back as they were uploaded (``form.whole_batches``).

    Raises
    ------
    WorkError
        The store does not deliver what the catalog lists, or an upload that is followed is lost.
    """
    if not plan.stored.complete:
        with plan.store.open_arrivals(
            plan.stored, queue_bytes=plan.memory.queue, meter=meter
        ) as arrivals:
            plan = replace(plan, stored=arrivals.stored)
            if not plan.stored.complete:
                rng = np.random.default_rng([(plan.seed or 0) % 2**64, k])
                yield from _behind(arriving_rows(_whole(arrivals), form, plan, rng), skipped)
                return
    if plan.cache != "off" and not form.whole_batches:
        # A copy has all components, for whoever reads others.
        whole = decoder_for(form.whole)
        copied = CopiedPass(plan, k, whole, form.batch_size, meter, skipped)
        yield from map(form.chosen, copied.chunks())
        skipped = copied.place
        if skipped >= plan.samples(k):
            return
    if plan.seed is not None and not form.whole_batches:
        yield from _shuffled_rows(plan, form, k, meter, skipped)
        return
    if plan.selection.rows is not None:
        yield from selected_rows(plan, form, k, meter, skipped)
        return
    planned = plan.plan(k, skipped)
    ordered = in_sample_order if plan.seed is None else in_plan_order
    with plan.store.open_pass(
        planned.order, window=planned.window, queue_bytes=plan.memory.queue, meter=meter
    ) as records:
        samples = ordered(planned.order, planned.shards, records)
        yield from _planned_rows(samples, form, plan, planned, k)


def selected_rows(
    plan: ReadPlan, form: ElementForm, k: int, meter: ReadMeter, skipped: int = 0
) -> Iterator[Leaves]:
    """Chunks of the selected rows of pass k from the records that hold them, in their order."""
    start, stop = plan.part(k)
    table = plan.selected_table(k)
    samples = rows_in_sequence(plan, table, min(start + skipped, stop), stop, meter)
    chunks = row_chunks.gathered(samples, decoder_for(form), row_chunks.CHUNK_BYTES)
    return (chunk.leaves for chunk in chunks)


def check_memory(plan: ReadPlan, form: ElementForm) -> None:
    """Return if the memory suffices to shuffle as asked, as far as is known now.

    Raises
    ------
    UserError
        It does not: see `deeptool.rows.broker_rows.check_fits`.
    """
    if plan.seed is not None and not form.whole_batches and plan.stored.complete:
        row_bytes = row_bytes_of(decoder_for(form), plan.sample_bytes)
        for k in range(plan.stored.epochs):
            check_fits(plan.windowed_order(k), row_bytes, plan.memory)


def _behind(chunks: Iterable[Leaves], skipped: int) -> Iterator[Leaves]:
    """The rows behind the first `skipped` ones."""
    for chunk in chunks:
        count = rows(chunk)
        if skipped < count:
            yield slice_rows(chunk, skipped, count)
        skipped = max(0, skipped - count)


def _shuffled_rows(
    plan: ReadPlan, form: ElementForm, k: int, meter: ReadMeter, skipped: int
) -> Iterator[Leaves]:
    order, decoder = plan.windowed_order(k), decoder_for(form)
    # Not known before where the upload was still under way.
    check_fits(order, row_bytes_of(decoder, plan.sample_bytes), plan.memory)
    return BrokerRows(
        store=plan.store,
        table=plan.selected_table(k),
        order=order,
        decoder=decoder,
        batch_size=form.batch_size or 1,
        sample_bytes=plan.sample_bytes,
        memory=plan.memory,
        window=plan.window,
        meter=meter,
    ).chunks(skipped)


def _planned_rows(
    samples: Iterable[Samples], form: ElementForm, plan: ReadPlan, planned: PlannedPass, k: int
) -> Iterator[Leaves]:
    decoder = decoder_for(form)
    if form.whole_batches and form.batch_size:
        chunks = row_chunks.gathered(samples, decoder, 0)
        pieces = _all(row_chunks.stored_batches(chunks, form.batch_size), plan.batches(k))
        pieces = _wanted(pieces, form)
        if plan.seed is not None:
            return row_chunks.shuffled_batches(pieces, plan.memory.buffer, planned.rng)
        return pieces
    chunks = row_chunks.gathered(samples, decoder, row_chunks.CHUNK_BYTES)
    return (chunk.leaves for chunk in chunks)


def _wanted(batches: Iterable[Leaves], form: ElementForm) -> Iterator[Leaves]:
    """The batches without those that are not whole, where these are to be left out."""
    return (batch for batch in batches if not form.drop_remainder or rows(batch) == form.batch_size)


def _all(batches: Iterable[Leaves], valid: int | None) -> Iterator[Leaves]:
    """The same batches; they must be as many as were uploaded, where that was kept."""
    seen = 0
    for batch in batches:
        seen += 1
        if valid is not None and seen > valid:
            raise _others(f"more than {valid} batches", valid)
        yield batch
    if valid is not None and seen < valid:
        raise _others(f"{seen} batches", valid)


def _others(seen: str, valid: int) -> WorkError:
    return WorkError(
        "the batches of a dataset did not come back as they were uploaded",
        seen=seen,
        valid=str(valid),
        next_step="deeptool check lists what is damaged; upload it again with --replace",
    )


def _whole(arrivals: ArrivingRecords) -> Iterator[Samples | None]:
    for record in arrivals.arriving():
        if record is None or record.header is None:
            yield None
        else:
            header = record.header
            yield Samples(record.key, record.value, header.first, 0, header.count, header.ends)


def arriving_rows(
    records: Iterable[Samples | None], form: ElementForm, plan: ReadPlan, rng: np.random.Generator
) -> Iterator[Leaves]:
    """Rows of records in the order of their arrival; None among them: no record is waiting.

    Where rows are shuffled, a full buffer gives out as many as come in. While none comes, it gives
    out half of what it holds, then half of the rest: so no row is held back for long. Batches that
    come as they were uploaded are not shuffled.
    """
    decoder = decoder_for(form)
    if form.whole_batches and form.batch_size:
        arrived = (record for record in records if record is not None)
        chunks = row_chunks.gathered(arrived, decoder, 0)
        yield from _wanted(row_chunks.stored_batches(chunks, form.batch_size), form)
        return
    buffer: RowBuffer | None = None
    for record in records:
        if record is None:
            if buffer is not None and len(buffer):
                yield buffer.draw(-(-len(buffer) // 2))
            continue
        leaves, size = decoder.rows([record]), len(record.value) + len(record.key or b"")
        if plan.seed is None:
            yield leaves
            continue
        if buffer is None:
            # How large samples are is known from the first record only.
            each = size / rows(leaves)
            most = int(plan.memory.buffer / max(each, 1)) + 1
            buffer = RowBuffer(decoder.spec.leaves, plan.memory.buffer, each, most, rng)
        yield from buffer.exchange(leaves, size)
    if buffer is not None:
        yield from buffer.drain(max(1, len(buffer) // 16))
