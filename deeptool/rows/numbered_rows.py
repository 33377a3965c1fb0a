"""Rows of a stored pass by their numbers: from columns that are there already, or from records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deeptool.codec.values import Leaves, concat_rows, take_rows
from deeptool.columns.columns import Columns
from deeptool.orders.row_groups import Rows
from deeptool.rows.copied_pass import pass_to_copy
from deeptool.rows.copy_fill import CopyFill
from deeptool.rows.element_form import ElementForm
from deeptool.rows.pass_rows import decoder_for, selected_rows
from deeptool.rows.read_plan import ReadPlan
from deeptool.rows.selection import Selection
from deeptool.store.read_meter import ReadMeter


def numbered_rows(
    plan: ReadPlan, form: ElementForm, k: int, rows: Rows, meter: ReadMeter
) -> Leaves:
    """These rows of pass k, in this order, as arrays of their own.

    From a local copy that is complete, or the store's own columns; else from the records that hold
    them, and no others.

    Parameters
    ----------
    plan : ReadPlan
        Without a seed.
    form : ElementForm
        Not ``as_stored``.
    rows : ndarray of int64, shape (count,)
        At least one; numbered within the whole pass; one may come several times.

    Raises
    ------
    WorkError
        The store does not deliver what the catalog lists.
    """
    whole = decoder_for(form.whole)
    wanted = pass_to_copy(plan, k, whole)
    columns: Columns | None = plan.copies.whole(wanted, CopyFill(plan, k, whole, meter))
    if columns is None:
        placed = plan.store.columns(plan.stored, wanted.epoch, wanted.spec)
        columns = placed and placed.columns
    if columns is not None:
        meter.count(samples=len(rows))
        return form.chosen(columns.take(rows))
    held, places = np.unique(rows, return_inverse=True)
    selection = Selection(held, plan.selection.columns)
    chunks = list(selected_rows(replace(plan, selection=selection), form, k, meter))
    return take_rows(concat_rows(chunks), places)
