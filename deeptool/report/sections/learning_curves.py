"""Learning curves: each metric by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from deeptool.report.figure_style import (
    MARGIN,
    MUTED,
    PALETTE,
    Figure,
    Trials,
    metrics_of,
    trial_colours,
    trial_label,
)
from deeptool.report.page_parts import ReportPage, ReportSection, Summary, section_by_metric
from deeptool.report.tables import dot


def learning_curves(summary: Mapping[str, Any], metric: str) -> Figure:
    """One metric by epoch: validation as lines, training dotted and faint behind them."""
    trials, data = summary["trials"], []
    by_trial = trial_colours(trials)
    validated = any(f"val_{metric}" in trial["history"] for trial in trials)
    for trial in reversed(trials):
        for name, faint in ((metric, validated), (f"val_{metric}", False)):
            values = trial["history"].get(name)
            if not values:
                continue
            epochs = trial["history"].get("epoch") or range(1, len(values) + 1)
            muted = by_trial[trial["index"]] == MUTED
            text = trial_label(trial, summary["varied"])
            data.append(
                {
                    "type": "scatter",
                    "x": list(epochs),
                    "y": values,
                    "name": text,
                    "mode": "lines" if faint or len(values) > 40 else "lines+markers",
                    "line": {
                        "color": by_trial[trial["index"]],
                        "width": 1.2 if faint else 2.2,
                        "dash": "dot" if faint else "solid",
                    },
                    "marker": {"size": 5},
                    "opacity": (0.25 if muted else 0.45) if faint else (0.5 if muted else 1.0),
                    "hovertemplate": f"{text}<br>epoch %{{x}}: {name} %{{y:.5g}}<extra></extra>",
                }
            )
    layout = {
        "margin": MARGIN,
        "height": 380,
        "showlegend": False,
        "xaxis": {"title": {"text": "epoch", "standoff": 6}, "dtick": _whole_ticks(trials)},
        "yaxis": {"title": {"text": metric, "standoff": 12}},
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def _whole_ticks(trials: Trials) -> int:
    longest = max((len(trial["history"].get("epoch", ())) for trial in trials), default=0)
    return max(1, math.ceil(longest / 12))


def _curves(page: ReportPage) -> str:
    parts, summary = {}, page.summary
    for metric in metrics_of(summary):
        figure = learning_curves(summary, metric)
        if figure["data"]:
            parts[metric] = page.plot(f"curves-{metric}", figure)
    return section_by_metric("Learning curves", parts, _key(summary)) if parts else ""


def _key(summary: Summary) -> str:
    """Which colour is which trial; muted ones have none of their own."""
    colours = trial_colours(summary["trials"])
    drawn = [trial for trial in summary["trials"] if trial["history"]]
    chips = "".join(
        f'<span title="{escape(trial_label(trial, summary["varied"]))}">'
        f"{dot(colours[trial['index']])}{trial['index']}</span>"
        for trial in drawn
        if colours[trial["index"]] != MUTED
    )
    more = " The best ten in colour." if len(drawn) > len(PALETTE) else ""
    return (
        f'<div class="key"><span>trial</span>{chips}'
        f'<span class="note">Solid: validation. Dotted: training.{more}</span></div>'
    )


SECTION = ReportSection(place=20, draw=_curves)
