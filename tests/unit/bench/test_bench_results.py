"""From single measurements to the medians of a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import results
from bench.workloads import Workload
from deeptool.errors import UserError

# 108 bytes per sample.
WORKLOAD = Workload("rows", "rows", (25,), 1000, 10)


def one(seconds: float, memory: float = 100.0, whole: bool = True) -> dict[str, float]:
    return {
        "samples": 1000,
        "seconds": seconds,
        "cpu_seconds": 2 * seconds,
        "anonymous_mb": memory + 50,
        "resting_mb": memory,
        "whole": whole,
    }


def test_medians_of_rate_bytes_and_cpu() -> None:
    found = results.summary(WORKLOAD, [one(2.0), one(0.5), one(1.0)])
    assert found["rates"] == [500.0, 2000.0, 1000.0]
    assert (found["rate"], found["seconds"]) == (1000.0, 1.0)
    assert found["mb_per_s"] == 0.1  # 108,000 bytes in a second
    assert found["cpu_seconds_per_gb"] == pytest.approx(2.0 / 108_000 * 1e9, rel=1e-4)


def test_memory_is_the_most_and_its_growth_that_between_measurements() -> None:
    found = results.summary(WORKLOAD, [one(1, 100.0), one(1, 180.0), one(1, 130.0)])
    assert (found["anonymous_mb"], found["memory_growth_mb"]) == (230.0, 30.0)


def test_one_pass_that_was_cut_marks_the_row() -> None:
    assert results.summary(WORKLOAD, [one(1), one(1)])["whole"] is True
    assert results.summary(WORKLOAD, [one(1), one(1, whole=False)])["whole"] is False


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = {"rows": {"upload": results.summary(WORKLOAD, [one(1)])}}
    found = results.document("quick", 1, 0.25, rows, {"grain": "1.2"})
    results.write(found, tmp_path / "new" / "quick.json")
    assert results.read(tmp_path / "new" / "quick.json") == found
    assert found["versions"]["grain"] == "1.2"
    assert set(found["targets"]["rows: first batch, seconds"]) == {"bound", "asked", "got", "met"}


@pytest.mark.parametrize("text", ["", "[]", '{"format": 0}'])
def test_no_results_or_those_of_another_format_are_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "full.json").write_text(text)
    with pytest.raises(UserError):
        results.read(tmp_path / "full.json")
    with pytest.raises(UserError):
        results.read(tmp_path / "none.json")
