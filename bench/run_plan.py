"""What a run measures, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from bench.rows import ROWS, Row


@dataclass(frozen=True)
class RunPlan:
    """What a run measures.

    Attributes
    ----------
    size : str
        Of `bench.workloads.SIZES`.
    rounds : int
        Measurements of each row.
    least_seconds, most_seconds : float
        A measurement reads whole passes until the first is over, and less than one pass where
        that takes longer than the second.
    rows : tuple of Row
    """

    size: str
    rounds: int
    least_seconds: float
    most_seconds: float
    rows: tuple[Row, ...]


PLANS = {
    "full": RunPlan("full", 5, 1.0, 15.0, ROWS),
    "quick": RunPlan("quick", 3, 0.3, 4.0, tuple(row for row in ROWS if row.quick)),
}
