"""Hyperparameters against the best value of each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deeptool.report.figure_style import (
    MARGIN,
    MUTED,
    Figure,
    category_name,
    is_number,
    metrics_of,
    spans_decades,
    trial_colours,
    trial_label,
)
from deeptool.report.page_parts import ReportPage, ReportSection, section_by_metric

# The least distance of two ticks of parallel coordinates, as a part of the height.
_NEAR = 0.07


def against_metric(summary: Mapping[str, Any], hparam: str, metric: str) -> Figure | None:
    """One hparam and the best value of a metric, one point per trial; None if all are alike."""
    points = [
        (trial["hparams"][hparam], trial["best"][metric], trial)
        for trial in summary["trials"]
        if hparam in trial["hparams"] and trial["best"].get(metric) is not None
    ]
    if len({repr(value) for value, _, _ in points}) < 2:
        return None
    by_trial = trial_colours(summary["trials"])
    numeric = all(is_number(value) for value, _, _ in points)
    x: list[Any] = [value if numeric else category_name(value) for value, _, _ in points]
    axis: dict[str, Any] = {"title": {"text": hparam}}
    if not numeric:
        axis |= {"type": "category", "categoryorder": "category ascending"}
    else:
        if spans_decades(x):
            axis |= {"type": "log", "tickformat": "~g"}
        if len(set(x)) <= 6:
            axis |= {"tickvals": sorted(set(x))}
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": [value for _, value, _ in points],
        "marker": {"size": 11, "color": [by_trial[trial["index"]] for _, _, trial in points]},
        "text": [trial_label(trial, summary["varied"]) for _, _, trial in points],
        "hovertemplate": f"%{{text}}<br>best {metric} %{{y:.5g}}<extra></extra>",
    }
    layout = {
        "margin": MARGIN,
        "height": 280,
        "xaxis": axis,
        "yaxis": {"title": {"text": metric, "standoff": 12}},
        "showlegend": False,
    }
    return {"data": [trace], "layout": layout}


def parallel(summary: Mapping[str, Any], metric: str) -> Figure | None:
    """All varied hparams and the best value of a metric, one line per trial; None below two."""
    trials = [trial for trial in summary["trials"] if trial["best"].get(metric) is not None]
    varied = [
        name
        for name in summary["varied"]
        if all(name in trial["hparams"] for trial in trials)
        and len({repr(trial["hparams"][name]) for trial in trials}) > 1
    ]
    if len(trials) < 2 or not varied:
        return None
    axes = [Axis(name, [trial["hparams"][name] for trial in trials]) for name in varied]
    axes.append(Axis(f"best {metric}", [trial["best"][metric] for trial in trials], measured=True))
    by_trial = trial_colours(summary["trials"])
    data = []
    for place, trial in reversed(list(enumerate(trials))):
        colour = by_trial[trial["index"]]
        text = (
            f"{trial_label(trial, summary['varied'])}<br>best {metric} {trial['best'][metric]:.5g}"
        )
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(len(axes))),
                "y": [axis.heights[place] for axis in axes],
                "line": {"color": colour, "width": 1.2 if colour == MUTED else 2.4},
                "marker": {"size": 7},
                "opacity": 0.4 if colour == MUTED else 0.9,
                "hovertemplate": f"{text}<extra></extra>",
            }
        )
    layout = {
        "margin": {"l": 40, "r": 30, "t": 40, "b": 14},
        "height": 320,
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": {
            "side": "top",
            "range": [-0.1, len(axes) - 0.8],
            "tickvals": list(range(len(axes))),
            "ticktext": [axis.name for axis in axes],
            "fixedrange": True,
        },
        "yaxis": {"range": [-0.06, 1.06], "visible": False, "fixedrange": True},
        "annotations": [
            {
                "x": place,
                "y": height,
                "text": text,
                "xanchor": "right" if place == 0 else "left",
                "xshift": -9 if place == 0 else 9,
                "showarrow": False,
                "font": {"size": 11},
            }
            for place, axis in enumerate(axes)
            for height, text in axis.ticks
        ],
    }
    return {"data": data, "layout": layout}


class Axis:
    """One vertical axis of parallel coordinates.

    Attributes
    ----------
    heights : list of float
        Where each value stands, from 0 to 1.
    ticks : list of (float, str)
        Heights and what is written there: the values themselves where they are few.
    """

    def __init__(self, name: str, values: Sequence[Any], *, measured: bool = False) -> None:
        self.name = name
        if all(is_number(value) for value in values):
            log = not measured and spans_decades(values)
            places = [math.log10(value) if log else float(value) for value in values]
            distinct = sorted(
                {place: f"{value:.4g}" for place, value in zip(places, values, strict=True)}.items()
            )
        else:
            words = [category_name(value) for value in values]
            order = sorted(set(words))
            places = [float(order.index(word)) for word in words]
            distinct = list(enumerate(order))
        low, span = distinct[0][0], (distinct[-1][0] - distinct[0][0]) or 1.0
        self.heights = [(place - low) / span for place in places]
        self.ticks: list[tuple[float, str]] = []
        for place, text in distinct:
            height = (place - low) / span
            # The last one is always written, in place of one that is too near to it.
            if self.ticks and height == 1.0 and height - self.ticks[-1][0] < _NEAR:
                self.ticks.pop()
            if not self.ticks or height - self.ticks[-1][0] >= _NEAR:
                self.ticks.append((height, text))


def _hparams(page: ReportPage) -> str:
    parts, summary = {}, page.summary
    for name in metrics_of(summary):
        metric = f"val_{name}"
        together = parallel(summary, metric)
        body = page.plot(f"parallel-{name}", together) if together else ""
        scatters = [
            (hparam, against_metric(summary, hparam, metric)) for hparam in summary["varied"]
        ]
        drawn = "".join(
            page.plot(f"against-{name}-{hparam}", figure) for hparam, figure in scatters if figure
        )
        body += f'<div class="grid">{drawn}</div>' if drawn else ""
        if body:
            parts[name] = body
    return section_by_metric("Hyperparameters", parts) if parts else ""


SECTION = ReportSection(place=40, draw=_hparams)
