"""Every process of the run, from its start to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deeptool.report.figure_style import BAD, MARGIN, MUTED, ROLE_COLOURS, Figure
from deeptool.report.page_parts import ReportPage, ReportSection, page_section


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
        "margin": {**MARGIN, "l": 130, "t": 34},
        "xaxis": {"title": {"text": "seconds"}, "rangemode": "tozero"},
        "yaxis": {"categoryorder": "array", "categoryarray": names, "dtick": 1},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom"},
    }
    return {"data": data, "layout": layout}


def _bad(row: Mapping[str, Any]) -> bool:
    return row.get("state") in ("failed", "interrupted", "killed", "unfinished")


def _timeline(page: ReportPage) -> str:
    if not page.summary["timeline"]:
        return ""
    return page_section("Timeline", page.plot("timeline", timeline(page.summary["timeline"])))


SECTION = ReportSection(place=70, draw=_timeline)
