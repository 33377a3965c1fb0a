"""The form of a file of rows: by what is known of their sizes."""

from __future__ import annotations

import os

from deeptool.codec.spec import Spec
from deeptool.columns.fixed_columns import FixedColumns, is_fixed, plan_file
from deeptool.columns.growing_columns import NoLocalCopy, RowStore
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
    if is_fixed(spec):
        try:
            return FixedColumns.lay_out(descriptor, spec, samples)
        except OSError:
            os.close(descriptor)
            raise
    raise NoLocalCopy("a local copy needs samples of one known size", seen=str(spec))


def open_rows(descriptor: int, spec: Spec, samples: int) -> RowStore:
    """The rows of a file that was laid out before; becomes the store's own.

    Raises
    ------
    WorkError
        It is something else.
    """
    if is_fixed(spec):
        try:
            return FixedColumns(descriptor, spec)
        except WorkError:
            os.close(descriptor)
            raise
    raise NoLocalCopy("a local copy needs samples of one known size", seen=str(spec))
