"""The page shows what the results hold, and the committed page shows the committed results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from bench import page, plots, results, rows
from bench.workloads import SIZES

FULL = ROOT / "bench-results" / "full.json"
measured = pytest.mark.skipif(not FULL.exists(), reason="`make bench` was never run here")


@pytest.fixture
def found() -> dict[str, Any]:
    """Results of a run with three rows: one whole, one cut, one absent."""
    one = {
        "samples": 160_000,
        "seconds": 2.0,
        "cpu_seconds": 1.0,
        "anonymous_mb": 50.0,
        "resting_mb": 40.0,
    }
    whole = results.summary(SIZES["full"]["images"], [{**one, "whole": True}])
    return results.document(
        "full",
        1,
        3.0,
        {
            "images": {
                rows.NUMPY_LATER: whole | {"entropy": 0.9995},
                rows.TFRECORD: whole | {"entropy": 0.35, "whole": False, "rate": 8_000.0},
                rows.LITDATA: {"absent": "not installed: no litdata"},
            }
        },
        {},
    )


def row(text: str, name: str) -> list[str]:
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith(f"| {name} |")]
    assert len(lines) == 1
    return [cell.strip() for cell in lines[0].split("|")]


def test_rows_targets_and_what_is_absent(found: dict[str, Any]) -> None:
    text = page.rendered(found)
    cells = row(text, f"**{rows.NUMPY_LATER}**")
    assert cells[2:] == ["80,000", "984", "0.51", "100.0%", "50"]
    assert row(text, rows.TFRECORD)[2:] == ["8,000 *", "984", "0.51", "35.0%", "50"]
    assert "- Not measured: litdata shuffled: not installed: no litdata" in text
    ratio = row(text, "images: later epochs, numpy / TFRecord shuffled")
    assert ratio[1:] == ["at least 6", "10", "yes"]
    assert row(text, "rows: first batch, seconds")[1:] == ["at most 0.5", "not measured", "no"]


def test_a_machine_that_was_busy_is_said_to_be(found: dict[str, Any]) -> None:
    assert "The machine was not quiet: its load was 3.0" in page.rendered(found)
    assert "not quiet" not in page.rendered(found | {"load_before": 0.1})


def test_results_take_the_place_of_earlier_ones(found: dict[str, Any]) -> None:
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    again = page.with_results(page.with_results(text, found), found)
    assert again == f"before\n{page.BEGIN}\n{page.rendered(found)}\n{page.END}\nafter\n"
    with pytest.raises(ValueError, match="no place"):
        page.with_results("a page without marks", found)


def test_the_pictures_show_each_row_and_are_the_same_every_time(
    found: dict[str, Any], tmp_path: Path
) -> None:
    (first,) = plots.write_plots(found, tmp_path)
    text = first.read_text()
    assert [name in text for name in found["rows"]["images"]] == [True, True, False]
    (second,) = plots.write_plots(found, tmp_path)
    assert second.read_text() == text


def test_the_page_has_a_place_for_results(found: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert page.rendered(found) in page.with_results(text, found)


@measured
def test_the_committed_page_shows_the_committed_results() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert page.with_results(text, results.read(FULL)) == text


@measured
def test_the_committed_targets_are_those_of_the_committed_rows() -> None:
    from bench import targets

    full = json.loads(FULL.read_text())
    assert full["targets"] == targets.targets(full["rows"])
    assert full["ratios"] == targets.ratios(full["rows"])
