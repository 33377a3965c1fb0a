"""The plots of a report, as plain plotly figures (data and layout); the page gives them colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]
Trials = Sequence[Mapping[str, Any]]

# Readable on white and on near-black, and told apart by most colour-blind eyes.
PALETTE = (
    *("#4c78ff", "#f2913d", "#1fa37a", "#e4576b", "#9b6bdf"),
    *("#18a5c4", "#d665a8", "#8ea53a", "#b98a4a", "#7d8797"),
)
MUTED = "#8a93a3"
BAD = "#e4576b"
ROLE_COLOURS = {
    "broker": "#7d8797",
    "producer": "#f2913d",
    "trial": "#4c78ff",
    "view": "#18a5c4",
}
# The least distance of two ticks of parallel coordinates, as a part of the height.
_NEAR = 0.07
_MARGIN = {"l": 62, "r": 18, "t": 12, "b": 46}


def metrics_of(summary: Mapping[str, Any]) -> list[str]:
    """What trials recorded, without ``val_``: what they are ranked by, then what was validated."""
    found = dict.fromkeys(
        name
        for trial in summary["trials"]
        for name in (*trial["best"], *trial["history"])
        if name not in ("epoch", "seconds")
    )
    names = dict.fromkeys(name.removeprefix("val_") for name in found)
    first = summary["metric"].removeprefix("val_")
    return sorted(names, key=lambda name: (name != first, f"val_{name}" not in found))


def label(trial: Mapping[str, Any], varied: Sequence[str]) -> str:
    """A trial by what makes it different."""
    pairs = [f"{name}={trial['hparams'][name]}" for name in varied if name in trial["hparams"]]
    return f"trial {trial['index']}" + (f": {', '.join(pairs)}" if pairs else "")


def colours(trials: Trials) -> dict[int, str]:
    """One colour a trial: the first (the best) by the palette, all further ones muted."""
    return {
        trial["index"]: PALETTE[place] if place < len(PALETTE) else MUTED
        for place, trial in enumerate(trials)
    }


def learning_curves(summary: Mapping[str, Any], metric: str) -> Figure:
    """One metric by epoch: validation as lines, training dotted and faint behind them."""
    trials, data = summary["trials"], []
    by_trial = colours(trials)
    validated = any(f"val_{metric}" in trial["history"] for trial in trials)
    for trial in reversed(trials):
        for name, faint in ((metric, validated), (f"val_{metric}", False)):
            values = trial["history"].get(name)
            if not values:
                continue
            epochs = trial["history"].get("epoch") or range(1, len(values) + 1)
            muted = by_trial[trial["index"]] == MUTED
            text = label(trial, summary["varied"])
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
        "margin": _MARGIN,
        "height": 380,
        "showlegend": False,
        "xaxis": {"title": {"text": "epoch", "standoff": 6}, "dtick": _whole_ticks(trials)},
        "yaxis": {"title": {"text": metric, "standoff": 12}},
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def against_metric(summary: Mapping[str, Any], hparam: str, metric: str) -> Figure | None:
    """One hparam against the best value of a metric, a point a trial; None if it is one for all."""
    points = [
        (trial["hparams"][hparam], trial["best"][metric], trial)
        for trial in summary["trials"]
        if hparam in trial["hparams"] and trial["best"].get(metric) is not None
    ]
    if len({repr(value) for value, _, _ in points}) < 2:
        return None
    by_trial = colours(summary["trials"])
    numeric = all(_is_number(value) for value, _, _ in points)
    x: list[Any] = [value if numeric else _word(value) for value, _, _ in points]
    axis: dict[str, Any] = {"title": {"text": hparam}}
    if not numeric:
        axis |= {"type": "category", "categoryorder": "category ascending"}
    else:
        if _spans_decades(x):
            axis |= {"type": "log", "tickformat": "~g"}
        if len(set(x)) <= 6:
            axis |= {"tickvals": sorted(set(x))}
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": [value for _, value, _ in points],
        "marker": {"size": 11, "color": [by_trial[trial["index"]] for _, _, trial in points]},
        "text": [label(trial, summary["varied"]) for _, _, trial in points],
        "hovertemplate": f"%{{text}}<br>best {metric} %{{y:.5g}}<extra></extra>",
    }
    layout = {
        "margin": _MARGIN,
        "height": 280,
        "xaxis": axis,
        "yaxis": {"title": {"text": metric, "standoff": 12}},
        "showlegend": False,
    }
    return {"data": [trace], "layout": layout}


def parallel(summary: Mapping[str, Any], metric: str) -> Figure | None:
    """All varied hparams and the best value of a metric, a line a trial; None below two trials."""
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
    by_trial = colours(summary["trials"])
    data = []
    for place, trial in reversed(list(enumerate(trials))):
        colour = by_trial[trial["index"]]
        text = f"{label(trial, summary['varied'])}<br>best {metric} {trial['best'][metric]:.5g}"
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


def cpu_bars(savings: Mapping[str, Any]) -> Figure:
    """CPU seconds of input work: every trial for itself, against what this run spent."""
    for_itself, shared = "every trial for itself", "this run"
    parts = [
        ("input pipeline", for_itself, savings["pipeline_cpu_seconds"], BAD),
        ("producers", shared, savings["producer_cpu_seconds"], ROLE_COLOURS["producer"]),
        ("broker", shared, savings["broker_cpu_seconds"] or 0.0, ROLE_COLOURS["broker"]),
        ("reading in trials", shared, savings["input_cpu_seconds"], ROLE_COLOURS["trial"]),
    ]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [place],
            "x": [seconds],
            "marker": {"color": colour},
            "hovertemplate": f"{name}: %{{x:.2f}} CPU s<extra></extra>",
        }
        for name, place, seconds, colour in parts
    ]
    layout = {
        "barmode": "stack",
        "height": 250,
        "margin": {**_MARGIN, "l": 150},
        "xaxis": {"title": {"text": "CPU seconds", "standoff": 6}},
        "yaxis": {"categoryorder": "array", "categoryarray": [shared, for_itself]},
        "legend": {"orientation": "h", "y": -0.4, "yanchor": "top", "traceorder": "normal"},
    }
    return {"data": data, "layout": layout}


def timeline(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Every process from its start to its end, in seconds since the first start."""
    ended = [row for row in rows if row["start"] is not None]
    origin = min((row["start"] for row in ended), default=0.0)
    last = max((row["end"] or row["start"] for row in ended), default=0.0)
    data = []
    for role in dict.fromkeys(row["role"] for row in ended):
        # The legend takes the colour of the first.
        mine = sorted((row for row in ended if row["role"] == role), key=_bad)
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": role,
                "y": [row["name"] for row in mine],
                "base": [row["start"] - origin for row in mine],
                "x": [max((row["end"] or last) - row["start"], 0.02) for row in mine],
                "marker": {
                    "color": [BAD if _bad(row) else ROLE_COLOURS.get(role, MUTED) for row in mine]
                },
                "text": [row["state"] if _bad(row) else "" for row in mine],
                "textposition": "inside",
                "hovertemplate": "%{y}: %{base:.1f} s to %{customdata:.1f} s<extra></extra>",
                "customdata": [(row["end"] or last) - origin for row in mine],
            }
        )
    # Plotly draws the first at the bottom.
    names = [row["name"] for row in sorted(ended, key=lambda row: row["start"])][::-1]
    layout = {
        "barmode": "overlay",
        "bargap": 0.3,
        "height": 90 + 24 * len(names),
        "margin": {**_MARGIN, "l": 130, "t": 34},
        "xaxis": {"title": {"text": "seconds"}, "rangemode": "tozero"},
        "yaxis": {"categoryorder": "array", "categoryarray": names, "dtick": 1},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom"},
    }
    return {"data": data, "layout": layout}


def _bad(row: Mapping[str, Any]) -> bool:
    return row.get("state") in ("failed", "interrupted", "killed", "unfinished")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _word(value: Any) -> str:
    """Any hparam as the name of a category."""
    return value if isinstance(value, str) else repr(value)


def _spans_decades(values: Sequence[float]) -> bool:
    return len(set(values)) > 2 and min(values) > 0 and max(values) / min(values) >= 10


def _whole_ticks(trials: Trials) -> int:
    longest = max((len(trial["history"].get("epoch", ())) for trial in trials), default=0)
    return max(1, math.ceil(longest / 12))


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
        if all(_is_number(value) for value in values):
            log = not measured and _spans_decades(values)
            places = [math.log10(value) if log else float(value) for value in values]
            distinct = sorted(
                {place: f"{value:.4g}" for place, value in zip(places, values, strict=True)}.items()
            )
        else:
            words = [_word(value) for value in values]
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
