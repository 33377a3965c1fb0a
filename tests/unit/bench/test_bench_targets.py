"""Ratios, targets and what counts as lost, from results made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bench import rows, targets

NUMPY_TO_TFRECORD = "images: later epochs, numpy / TFRecord shuffled"


def rated(**rates: float) -> dict[str, Any]:
    return {getattr(rows, name): {"rate": rate} for name, rate in rates.items()}


def test_a_ratio_is_one_rate_over_the_best_of_the_others() -> None:
    found = {"images": rated(NUMPY_LATER=900.0, TFRECORD=100.0, LANCE=300.0, GRAIN=50.0)}
    ratios = targets.ratios(found)
    assert ratios[NUMPY_TO_TFRECORD] == 9.0
    assert ratios["images: later epochs, numpy / the best from PyPI"] == 3.0


def test_an_absent_row_has_no_ratio_and_its_target_is_not_met() -> None:
    found = {"images": {**rated(TFRECORD=100.0), rows.NUMPY_LATER: {"absent": "no copies"}}}
    assert targets.ratios(found) == {}
    target = targets.targets(found)[NUMPY_TO_TFRECORD]
    assert (target["asked"], target["got"], target["met"]) == (6.0, None, False)


@pytest.mark.parametrize(("rate", "met"), [(599.0, False), (600.0, True)])
def test_a_ratio_is_to_reach_what_is_asked(rate: float, met: bool) -> None:
    found = {"images": rated(NUMPY_LATER=rate, TFRECORD=100.0)}
    target = targets.targets(found)[NUMPY_TO_TFRECORD]
    assert (target["bound"], target["got"], target["met"]) == ("at least", rate / 100, met)


@pytest.mark.parametrize(("seconds", "met"), [(0.5, True), (0.51, False)])
def test_seconds_are_not_to_exceed_what_is_asked(seconds: float, met: bool) -> None:
    target = targets.targets({"rows": {rows.FIRST: {"seconds": seconds}}})[
        "rows: first batch, seconds"
    ]
    assert (target["bound"], target["got"], target["met"]) == ("at most", seconds, met)


def test_no_two_figures_have_one_name() -> None:
    names = [each.name for each in (*targets.RATIOS, *targets.BOUNDS)]
    assert len(names) == len(set(names))


def test_every_row_of_a_ratio_is_measured() -> None:
    known = {row.name for row in rows.ROWS}
    assert {row for each in targets.RATIOS for row in each.rows} <= known
    assert {each.row for each in targets.BOUNDS} <= known


@pytest.mark.parametrize(("rate", "lost"), [(749.0, True), (751.0, False)])
def test_lost_is_what_is_below_three_quarters_of_the_record(rate: float, lost: bool) -> None:
    found = {"images": rated(NUMPY_LATER=rate, TFRECORD=100.0)}
    missed = targets.lost({NUMPY_TO_TFRECORD: 10.0}, found)
    assert [each.name for each in missed] == ([NUMPY_TO_TFRECORD] if lost else [])


def test_a_recorded_ratio_that_cannot_be_measured_any_more_is_lost() -> None:
    missed = targets.lost({NUMPY_TO_TFRECORD: 10.0}, {"images": rated(TFRECORD=100.0)})
    assert [each.name for each in missed] == [NUMPY_TO_TFRECORD]


def test_only_ratios_that_were_recorded_are_compared() -> None:
    assert targets.lost({}, {"images": rated(NUMPY_LATER=1.0, TFRECORD=100.0)}) == []


def test_the_rows_of_what_is_lost_are_measured_again_in_its_workload_only() -> None:
    missed = targets.lost({NUMPY_TO_TFRECORD: 10.0}, {})
    assert targets.involved(missed, "images") == {rows.NUMPY_LATER, rows.TFRECORD}
    assert targets.involved(missed, "rows") == set()
