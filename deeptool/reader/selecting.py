"""Selects rows and components of a stored dataset: what `StoredDataset.select` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from deeptool.codec.chosen_columns import ChosenColumns, choose_columns, one_leaf
from deeptool.codec.spec import Spec
from deeptool.errors import UserError
from deeptool.orders.row_groups import Rows
from deeptool.reader.class_labels import ClassLabels, Labels, check_label, classes_of
from deeptool.reader.numpy_batches import decoded
from deeptool.reader.select_rows import RowRequest
from deeptool.rows.element_form import element_form
from deeptool.rows.pass_rows import pass_rows
from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.selection import Selection
from deeptool.store.read_meter import ReadMeter


def selected(
    plan: ReadPlan,
    columns: str | Sequence[str] | None,
    request: RowRequest,
    labels: ClassLabels,
    meter: ReadMeter,
) -> Selection:
    """What is selected of what a plan reads.

    Parameters
    ----------
    plan : ReadPlan
        Of a dataset, or of what was selected of it before.
    columns, request
        See `deeptool.reader.stored_dataset.StoredDataset.select`.
    labels : ClassLabels
        Of the dataset.
    meter : ReadMeter

    Raises
    ------
    UserError
        It cannot be selected.
    """
    before = plan.selection
    outer, spec = before.columns, before.columns.spec if before.columns else plan.stored.spec
    chosen = outer
    if columns is not None:
        found = choose_columns(spec, columns)
        # All of them is no choice.
        chosen = found.within(outer) if found.spec != spec else outer
    if request.all_rows:
        return Selection(before.rows, chosen)
    _check_passes(plan)
    classes = partial(_classes, plan, spec, request.stratify or "", labels, meter)
    samples = plan.samples(0)
    rows = request.chosen(samples, plan.name, classes)
    if len(rows) == samples:
        return Selection(before.rows, chosen)
    return Selection(rows if before.rows is None else before.rows[rows], chosen)


def _check_passes(plan: ReadPlan) -> None:
    if not plan.stored.complete:
        raise UserError(
            "rows of a dataset can be selected once it is complete",
            seen=f"{plan.name} is still being uploaded",
            next_step="open it without follow=True, or with wait=SECONDS",
        )
    counts = [plan.shard_samples(k) for k in range(plan.stored.epochs)]
    if any(one != counts[0] for one in counts):
        raise UserError(
            "stored passes differ in their numbers of samples, so a row is not the same sample in "
            "all of them",
            seen=", ".join(f"{sum(one)} samples in pass {k}" for k, one in enumerate(counts)),
            valid="passes of equally many samples",
            next_step="upload it again with one pass: readers shuffle it in each epoch",
        )


def _classes(
    plan: ReadPlan, spec: Spec, column: str, labels: ClassLabels, meter: ReadMeter
) -> Rows:
    """The class of each row that a plan reads."""
    _, leaf = one_leaf(spec, column)
    check_label(leaf, column)
    whole = choose_columns(spec, column).within(plan.selection.columns)
    classes = labels.lookup(whole.places[0], partial(_read, plan, whole, column, meter))
    return classes if plan.selection.rows is None else classes[plan.selection.rows]


def _read(plan: ReadPlan, column: ChosenColumns, name: str, meter: ReadMeter) -> Rows:
    """The class of each stored row."""
    # As the faces read by default: what is read once is in a copy for later.
    plan = replace(plan, selection=Selection(columns=column), cache="auto")
    form = element_form(plan, plan.stored.batch_size, False, None)

    def labels_of(k: int) -> Labels:
        chunks = decoded(meter.metered(pass_rows(plan, form, k, meter)), form)
        return np.concatenate([np.asarray(leaves[0]).reshape(-1) for leaves in chunks])

    return classes_of(map(labels_of, range(plan.stored.epochs)), name)
