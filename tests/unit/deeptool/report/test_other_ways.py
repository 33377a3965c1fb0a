"""What trials would have cost without a store, calculated by hand; and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from deeptool.report.savings import account, verdict


def trial(index: int, **values: Any) -> dict[str, Any]:
    given = {"index": index, "proc_id": 0, "data_from": "kafka"}
    return {**given, "epochs_run": 5, "input_cpu_seconds": 1.0, **values}


def stored(split: str = "train", **values: Any) -> dict[str, Any]:
    """100 samples: 20 CPU s of the pipeline; 1 s from cache(), 3 s to save, 2 s to load."""
    ways = {"cache_seconds": 0.01, "save_seconds": 0.03, "load_seconds": 0.02, "failed": ""}
    given: dict[str, Any] = {"topic": f"s.0.{split}", "proc_id": 0, "samples": 100}
    given |= {"epochs": [{"samples": 100}], "cpu_seconds": 25.0, "pipeline_cpu_seconds": 20.0}
    return {**given, "other_ways": ways, **values}


def costs(savings: dict[str, Any] | None) -> dict[str, float | None]:
    assert savings is not None
    return {way["way"]: way["cpu_seconds"] for way in savings["ways"]}


def test_each_way_is_calculated_by_hand() -> None:
    savings = account([trial(0), trial(1, epochs_run=2)], [stored()], 4.0)
    assert costs(savings) == {
        "each_epoch": 7 * 20,
        "cache": pytest.approx(2 * 20 + (4 + 1) * 1),
        "save": pytest.approx(20 + 3 + 7 * 2),
    }
    assert savings is not None
    # 25 + 4 + 2 against 37: a trial spends 7 that way, and 1 here.
    assert savings["cheapest"] == "save"
    assert savings["saved_cpu_seconds"] == pytest.approx(37 - 31)
    assert savings["saved_share"] == pytest.approx(6 / 37)
    assert savings["break_even_trials"] == 1
    assert verdict(savings) == (
        "6.0 CPU s saved against one dataset.save(); it pays from the first trial on"
    )


def test_where_another_way_would_have_cost_less_that_is_said() -> None:
    savings = account([trial(0)], [stored()], 36.0)
    assert savings is not None
    # One trial: 20 + 4 x 1 from cache(), 20 + 3 + 5 x 2 saved; here 25 + 36 + 1.
    assert (savings["cheapest"], savings["saved_cpu_seconds"]) == ("cache", pytest.approx(-38))
    assert verdict(savings) == (
        "38.0 CPU s lost: cache() in each trial would have cost less; storing costs less"
        " from 3 trials on"
    )


def test_a_trial_reads_both_splits_and_a_dataset_is_saved_once() -> None:
    uploads = [stored(), stored("val", samples=10, epochs=[{"samples": 10}])]
    found = costs(account([trial(0), trial(1)], uploads, None))
    assert found["save"] == pytest.approx(2 * 20 + 3 + 0.3 + 10 * (2 + 0.2))
    assert found["cache"] == pytest.approx(2 * (40 + 4 * 1.1))


def test_all_stored_epochs_are_saved_and_one_is_read_at_a_time() -> None:
    upload = stored(samples=200, epochs=[{"samples": 100}] * 2, pipeline_cpu_seconds=40.0)
    found = costs(account([trial(0)], [upload], None))
    assert found == {
        "each_epoch": 100,
        "cache": pytest.approx(20 + 4),
        "save": pytest.approx(40 + 6 + 10),
    }


@pytest.mark.parametrize(
    ("ways", "unknown", "why"),
    [
        (
            None,
            {"cache", "save"},
            "s.0.train was uploaded by an earlier release, or without a settings file",
        ),
        (
            {"cache_seconds": 0.01, "load_seconds": None, "failed": "OSError: full"},
            {"save"},
            "s.0.train: OSError: full",
        ),
    ],
)
def test_a_way_that_was_not_measured_is_left_out_and_said(
    ways: dict[str, Any] | None, unknown: set[str], why: str
) -> None:
    savings = account([trial(0)], [stored(other_ways=ways)], None)
    assert {way for way, seconds in costs(savings).items() if seconds is None} == unknown
    assert savings is not None
    assert {way["why"] for way in savings["ways"] if way["cpu_seconds"] is None} == {why}
    assert savings["cheapest"] not in unknown
