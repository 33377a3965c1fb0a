"""The form of a file of rows: by what is known of their sizes."""

from __future__ import annotations

import os

from deeptool.codec.spec import Spec
from deeptool.columns.appended_columns import AppendedColumns
from deeptool.columns.filled_rows import RowStore
from deeptool.columns.fixed_columns import FixedColumns, is_fixed, plan_file
from deeptool.errors import WorkError


def rows_size(spec: Spec, samples: int) -> int | None:
    """Bytes of the file of so many rows; None where that is not known before."""
    return plan_file(spec, samples).size if is_fixed(spec) else None


def lay_out_rows(descriptor: int, spec: Spec, samples: int) -> RowStore:
    """Make an open, empty file one of rows; becomes the store's own.

    Raises
    ------
    OSError
        The disk has no space.
    """
    kind = FixedColumns if is_fixed(spec) else AppendedColumns
    try:
        return kind.lay_out(descriptor, spec, samples)
    except OSError:
        os.close(descriptor)
        raise


def open_rows(descriptor: int, spec: Spec, samples: int) -> RowStore:
    """The rows of a file that was laid out before; becomes the store's own.

    Raises
    ------
    WorkError
        It is something else.
    """
    try:
        if is_fixed(spec):
            return FixedColumns(descriptor, spec)
        return AppendedColumns(descriptor, spec, samples)
    except WorkError:
        os.close(descriptor)
        raise
