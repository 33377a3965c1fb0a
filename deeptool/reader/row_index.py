"""Rows of a dataset by index, as NumPy has it: numbers, slices, arrays of numbers, masks."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from deeptool.codec import make_codec
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, Ragged, Value, numpy_dtype
from deeptool.errors import UserError
from deeptool.orders.row_groups import Rows
from deeptool.reader.numpy_batches import decoded, finished
from deeptool.rows.element_form import ElementForm
from deeptool.rows.numbered_rows import numbered_rows
from deeptool.rows.read_plan import ReadPlan
from deeptool.store.read_meter import ReadMeter

_VALID = "an integer, a slice, a list or array of integers, or a mask: one boolean per row"


class RowIndexError(UserError, IndexError):
    """There is no such row."""


def row_numbers(index: Any, samples: int) -> Rows | int:
    """The rows that an index stands for.

    Parameters
    ----------
    index : int, slice, sequence of int, or mask
        Negative numbers count from the end. A mask has one boolean per row.
    samples : int
        How many rows there are.

    Returns
    -------
    ndarray of int64, or int
        From 0 to samples - 1, in the order asked for; one number for one number.

    Raises
    ------
    RowIndexError
        There is no such row.
    UserError
        It is no index of rows.
    """
    if isinstance(index, slice):
        try:
            return np.arange(*index.indices(samples), dtype=np.int64)
        except (TypeError, ValueError) as error:
            raise UserError(
                "no slice of rows", seen=f"{index}: {error}", valid="integers, a step other than 0"
            ) from error
    if not isinstance(index, (bool, np.bool_)):
        try:
            return int(_checked(np.array([operator.index(index)]), samples)[0])
        except (TypeError, OverflowError):
            pass
    return _checked(_as_array(index), samples)


def _as_array(index: Any) -> np.ndarray[Any, Any]:
    if isinstance(index, (tuple, str, bytes, dict, set)) or index is None or index is Ellipsis:
        raise _no_index(index)
    try:
        numbers = np.asarray(index)
    except (TypeError, ValueError) as error:
        raise _no_index(index) from error
    if numbers.shape == (0,) and not isinstance(index, np.ndarray):
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iub":
        raise _no_index(index)
    return numbers


def _checked(numbers: np.ndarray[Any, Any], samples: int) -> Rows:
    if numbers.dtype.kind == "b":
        if len(numbers) != samples:
            raise RowIndexError(
                "a mask of rows has another length than the dataset",
                seen=f"{len(numbers)} booleans",
                valid=f"{samples}, one per row",
            )
        return np.flatnonzero(numbers).astype(np.int64, copy=False)
    outside = numbers[(numbers < -samples) | (numbers >= samples)]
    if len(outside):
        raise RowIndexError(
            "there is no such row",
            seen=str(outside[0]),
            valid=f"{-samples} to {samples - 1}" if samples else "none: there are no rows",
        )
    rows = numbers.astype(np.int64)
    rows[rows < 0] += samples
    return rows


def _no_index(index: Any) -> UserError:
    kind = type(index).__name__
    if isinstance(index, np.ndarray):
        kind = f"array of {index.dtype}, shape {index.shape}"
    return UserError("no index of rows", seen=f"{kind}: {str(index)[:80]}", valid=_VALID)


def rows_at(plan: ReadPlan, index: Any, meter: ReadMeter) -> Any:
    """The rows of the first stored pass at an index, nested as the dataset's elements.

    Parameters
    ----------
    plan : ReadPlan
        Without a seed; the index is one of its selected rows.
    index : int, slice, sequence of int, or mask

    Returns
    -------
    nested arrays
        A sample for a number, else a batch; see `deeptool.reader.numpy_batches.NumpyBatches`.

    Raises
    ------
    RowIndexError
        There is no such row.
    UserError
        It is no index of rows; or rows of several shapes are to be one batch.
    WorkError
        They cannot be read.
    """
    asked = row_numbers(index, plan.samples(0))
    numbers = np.atleast_1d(np.asarray(asked, np.int64))
    if plan.selection.rows is not None:
        numbers = plan.selection.rows[numbers]
    stored = plan.stored
    form = ElementForm(
        codec=make_codec(stored.codec, stored.spec),
        batch_size=None if isinstance(asked, int) else len(numbers),
        drop_remainder=False,
        as_stored=False,
        padding={},
        uniform=stored.uniform,
        columns=plan.selection.columns,
    )
    if not len(numbers):
        return form.spec.nest(_no_rows(form.spec))
    with meter.working():
        leaves = numbered_rows(plan, form, 0, numbers, meter)
        (leaves,) = decoded([leaves], form)
        _check_shapes(leaves, form)
        return form.spec.nest(finished(leaves, form))


def _no_rows(spec: Spec) -> Leaves:
    return tuple(_none(leaf) for leaf in spec.leaves)


def _none(leaf: Leaf) -> Value:
    flat = np.zeros((0, *(size or 0 for size in leaf.inner)), numpy_dtype(leaf.dtype))
    splits = np.zeros(1, leaf.row_splits_dtype)
    return Ragged(flat, (splits,) * leaf.ragged_rank) if leaf.ragged_rank else flat


def _check_shapes(leaves: Leaves, form: ElementForm) -> None:
    """Rows of dense components must be of one shape: nothing here says what would fill them up."""
    if form.groups:
        return
    for value, leaf, name in zip(leaves, form.spec.leaves, form.spec.names, strict=True):
        if isinstance(value, Ragged) and not leaf.ragged_rank:
            sizes = [np.unique(np.diff(splits)) for splits in value.row_splits]
            if any(len(found) > 1 for found in sizes):
                seen = " x ".join("/".join(map(str, found.tolist())) for found in sizes)
                raise UserError(
                    f"rows of component '{name}' have different shapes: they are no one array",
                    seen=f"dimensions of {seen}",
                    next_step="read them one by one, or data.numpy(..., padding_value=0)",
                )
