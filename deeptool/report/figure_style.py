"""What the figures of a report share: colours, names of trials and metrics, what is numeric.

A figure is a plain plotly figure (data and layout); the page gives it the colours of its theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]
Trials = Sequence[Mapping[str, Any]]

# Readable on white and on near-black, and distinct for most colour-blind eyes.
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
MARGIN = {"l": 62, "r": 18, "t": 12, "b": 46}


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


def trial_label(trial: Mapping[str, Any], varied: Sequence[str]) -> str:
    """A trial by what makes it different."""
    pairs = [f"{name}={trial['hparams'][name]}" for name in varied if name in trial["hparams"]]
    return f"trial {trial['index']}" + (f": {', '.join(pairs)}" if pairs else "")


def trial_colours(trials: Trials) -> dict[int, str]:
    """One colour per trial: the best ones by the palette, all further ones muted."""
    return {
        trial["index"]: PALETTE[place] if place < len(PALETTE) else MUTED
        for place, trial in enumerate(trials)
    }


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def category_name(value: Any) -> str:
    """Any hparam as the name of a category."""
    return value if isinstance(value, str) else repr(value)


def spans_decades(values: Sequence[float]) -> bool:
    return len(set(values)) > 2 and min(values) > 0 and max(values) / min(values) >= 10
