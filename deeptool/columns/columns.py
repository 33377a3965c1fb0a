"""What readers ask of columns, wherever their rows are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deeptool.codec.values import Leaves

# Numbers of rows.
Rows = npt.NDArray[np.int64]

# Seconds without one more row, after which whoever waits gives up.
PATIENCE = 600.0


class Columns(Protocol):
    """All rows of one pass, numbered 0, ..., samples - 1.

    Attributes
    ----------
    samples : int
        How many rows there are.
    """

    samples: int

    def take(self, rows: Rows) -> Leaves:
        """Any rows in any order, also the same one twice, as arrays of their own.

        Parameters
        ----------
        rows : ndarray of int64, shape (count,)
            From 0 to samples - 1.

        Raises
        ------
        IndexError
            There is no such row.
        WorkError
            One of the rows is not filled yet.
        """
        ...

    def slice(self, start: int, stop: int) -> Leaves:
        """Rows start, ..., stop - 1: read-only views where that is possible.

        Raises
        ------
        IndexError, WorkError
            As `take`.
        """
        ...

    def wait(self, windows: Sequence[tuple[int, int]], timeout: float = PATIENCE) -> None:
        """Return when rows start, ..., stop - 1 of each window are filled; at once where they are.

        Parameters
        ----------
        windows : sequence of (start, stop)
        timeout : float
            Seconds without one more row of any kind after which to give up.

        Raises
        ------
        DeeptoolError
            Whoever fills the columns failed or gave up; or `timeout` has passed.
        """
        ...

    def close(self) -> None:
        """Let go of what holds the rows; arrays that were given out stay valid."""
        ...
