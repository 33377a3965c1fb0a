"""Pure: ratios of medians, what is asked of them, and whether a later run has lost some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench import rows

# Of a recorded ratio, what `make bench-quick` must still reach.
KEPT = 0.75

# Per workload and row: what `bench.results.summary` makes of its measurements.
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Ratio:
    """The rate of one row over the best of others, in one run.

    Attributes
    ----------
    workload, over : str
    under : tuple of str
        Rows; those that are absent do not count.
    asked : float, optional
        What it is to reach, at least.
    """

    workload: str
    over: str
    under: tuple[str, ...]
    asked: float | None = None

    @property
    def name(self) -> str:
        under = " or ".join(self.under) if len(self.under) < 3 else "the best from PyPI"
        return f"{self.workload}: {self.over} / {under}"

    @property
    def rows(self) -> tuple[str, ...]:
        return (self.over, *self.under)


@dataclass(frozen=True)
class Bound:
    """A figure of one row that has a bound of its own."""

    workload: str
    row: str
    field: str
    asked: float
    at_most: bool

    @property
    def name(self) -> str:
        return f"{self.workload}: {self.row}, {self.field.replace('_', ' ')}"


def _of(workload: str, tf_asked: Mapping[str, float], numpy_asked: float) -> list[Ratio]:
    """The ratios of a workload; `tf_asked` is by peer."""
    kept = [Ratio(workload, rows.TF_LATER, (peer,), asked) for peer, asked in tf_asked.items()]
    return [
        *kept,
        Ratio(workload, rows.NUMPY_LATER, (rows.TFRECORD,), numpy_asked),
        Ratio(workload, rows.NUMPY_LATER, rows.FROM_PYPI, 2.0),
        Ratio(workload, rows.EIGHT, (rows.NUMPY_LATER,), 0.8),
        Ratio(workload, rows.FILLING, (rows.JAVA_CONSUMER,), 0.9),
        Ratio(workload, rows.TF_ORDERED, (rows.JAVA_CONSUMER,), 0.9),
        Ratio(workload, rows.NUMPY_ORDERED, (rows.JAVA_CONSUMER,), 0.9),
        Ratio(workload, rows.TF_BROKER, (rows.TF_ORDERED,), 0.7),
        Ratio(workload, rows.NUMPY_BROKER, (rows.NUMPY_ORDERED,), 0.7),
        Ratio(workload, rows.UPLOAD, (rows.JAVA_PRODUCER,), 1.0),
        # Nothing is asked of these: they keep what is reached, on any machine.
        Ratio(workload, rows.UPLOAD, (rows.UNPACKED,)),
        Ratio(workload, rows.UPLOAD, (rows.TFRECORD_ORDERED,)),
        Ratio(workload, rows.FILLING, (rows.TFRECORD_ORDERED,)),
        Ratio(workload, rows.TF_ORDERED, (rows.TFRECORD_ORDERED,)),
        Ratio(workload, rows.NUMPY_ORDERED, (rows.TFRECORD_ORDERED,)),
    ]


def _bounds(workload: str) -> list[Bound]:
    of_a_gb = "cpu_seconds_per_gb"
    return [
        Bound(workload, rows.FILLING, of_a_gb, 1.5, True),
        Bound(workload, rows.TF_ORDERED, of_a_gb, 1.5, True),
        Bound(workload, rows.NUMPY_ORDERED, of_a_gb, 1.5, True),
        Bound(workload, rows.TF_BROKER, "entropy_of_pass_0", 0.98, False),
        Bound(workload, rows.TF_LATER, "entropy", 0.999, False),
        Bound(workload, rows.FIRST, "seconds", 0.5, True),
        Bound(workload, rows.NUMPY_ORDERED, "memory_growth_mb", 32.0, True),
        Bound(workload, rows.NUMPY_BROKER, "memory_growth_mb", 32.0, True),
        Bound(workload, rows.NUMPY_LATER, "memory_growth_mb", 32.0, True),
        Bound(workload, rows.EIGHT, "anonymous_mb", 300.0, True),
    ]


RATIOS = (
    *_of("images", {rows.TFRECORD: 2.0, rows.LOAD: 1.5}, 6.0),
    *_of("rows", {rows.TFRECORD: 4.0, rows.LOAD: 4.0, rows.MEMORY: 4.0}, 8.0),
)
BOUNDS = (*_bounds("images"), *_bounds("rows"))


def ratio(results: Results, wanted: Ratio) -> float | None:
    """Its value; None where a row is absent, or all of those that it is compared with."""
    found = results.get(wanted.workload, {})
    rates = [found[row]["rate"] for row in wanted.under if found.get(row, {}).get("rate")]
    over = found.get(wanted.over, {}).get("rate")
    return over / max(rates) if over and rates else None


def ratios(results: Results) -> dict[str, float]:
    """Name -> value of all ratios that could be measured."""
    found = ((wanted.name, ratio(results, wanted)) for wanted in RATIOS)
    return {name: round(value, 4) for name, value in found if value is not None}


def targets(results: Results) -> dict[str, dict[str, Any]]:
    """Name -> ``{asked, got, met}``; `got` is None where it could not be measured."""
    answers = {}
    for wanted in RATIOS:
        if wanted.asked is not None:
            answers[wanted.name] = _answer(wanted.asked, ratio(results, wanted), at_most=False)
    for bound in BOUNDS:
        got = results.get(bound.workload, {}).get(bound.row, {}).get(bound.field)
        answers[bound.name] = _answer(bound.asked, got, bound.at_most)
    return answers


def _answer(asked: float, got: float | None, at_most: bool) -> dict[str, Any]:
    met = got is not None and (got <= asked if at_most else got >= asked)
    bound = "at most" if at_most else "at least"
    return {
        "bound": bound,
        "asked": asked,
        "got": None if got is None else round(got, 4),
        "met": met,
    }


def lost(recorded: Mapping[str, float], results: Results) -> list[Ratio]:
    """The ratios to peers that are below `KEPT` of the recorded ones, or that only the record has.

    Those of ours to ours fall when the other one becomes faster: they are no loss.
    """
    ours = {row.name for row in rows.ROWS if row.ours}
    missed = []
    for wanted in RATIOS:
        if ours.intersection(wanted.under):
            continue
        before, now = recorded.get(wanted.name), ratio(results, wanted)
        if before is not None and (now is None or now < KEPT * before):
            missed.append(wanted)
    return missed


def involved(missed: Iterable[Ratio], workload: str) -> set[str]:
    """The rows of a workload that some ratios are made of."""
    return {row for wanted in missed if wanted.workload == workload for row in wanted.rows}
