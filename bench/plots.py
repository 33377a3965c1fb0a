"""One picture per workload: the MB/s of each row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from bench.rows import FIRST, ROWS
from bench.workloads import SIZES

_OURS, _PEERS = "#0b6e4f", "#9aa5b1"


def write_plots(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the pictures of a run's results, and return their paths."""
    written = []
    for name, rows in found["rows"].items():
        shown = [row for row in ROWS if "mb_per_s" in rows.get(row.name, {}) and row.name != FIRST]
        shown.sort(key=lambda row: rows[row.name]["mb_per_s"])
        figure = Figure(figsize=(8, 0.28 * len(shown) + 1), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(
            [row.name for row in shown],
            [rows[row.name]["mb_per_s"] for row in shown],
            color=[_OURS if row.ours else _PEERS for row in shown],
        )
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
        axes.set_xscale("log")
        axes.set_xlabel("MB/s (logarithmic); ours in green")
        axes.set_title(SIZES[found["size"]][name].title, loc="left")
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        written.append(folder / f"{name}.svg")
        # The same results make the same file.
        with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            figure.savefig(written[-1], metadata={"Date": None})
    return written
