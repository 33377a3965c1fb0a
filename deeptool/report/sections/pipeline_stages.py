"""What each stage of the input pipeline costs, and what to store: measured by ``deeptool plan``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from deeptool.report.advice_text import advice_lines
from deeptool.report.figure_style import MARGIN, PALETTE, Figure
from deeptool.report.page_parts import ReportPage, ReportSection, page_section
from deeptool.report.stage_names import stage_name

_ROW_HEIGHT = 34


def stage_bars(stages: Sequence[Mapping[str, Any]]) -> Figure:
    """Two panels of bars: each stage's milliseconds of work, and the bytes after it, per sample."""
    # Numbered: two stages may have the same name.
    names = [f"{place}. {stage_name(stage)}" for place, stage in enumerate(stages, 1)]
    colours = [PALETTE[1] if stage["online"] else PALETTE[0] for stage in stages]
    panels = (
        ("x", "y", [1000 * stage["seconds"] for stage in stages], "%{x:.4g} ms per sample"),
        ("x2", "y2", [stage["bytes"] for stage in stages], "%{x:,.0f} bytes per sample"),
    )
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "xaxis": across,
            "yaxis": down,
            "x": values,
            "y": names,
            "marker": {"color": colours},
            "hovertemplate": f"%{{y}}: {shown}<extra></extra>",
        }
        for across, down, values, shown in panels
    ]
    layout = {
        "height": 110 + _ROW_HEIGHT * len(stages),
        "margin": {**MARGIN, "l": 210},
        "showlegend": False,
        "xaxis": {"title": {"text": "ms of work per sample"}, "domain": [0, 0.47]},
        "xaxis2": {"title": {"text": "bytes after it, per sample"}, "domain": [0.53, 1]},
        "yaxis": {"autorange": "reversed"},
        "yaxis2": {"autorange": "reversed", "showticklabels": False, "anchor": "x2"},
    }
    return {"data": data, "layout": layout}


def _stages(page: ReportPage) -> str:
    plan = page.summary.get("plan")
    if not plan:
        return ""
    costs = plan["costs"]
    body = ""
    for split, row in costs["splits"].items():
        measured = f"{split}: {row['measured_samples']:,} samples were measured"
        if any(stage["online"] for stage in row["stages"]):
            measured += "; what get_online_pipeline adds is orange"
        body += f'<p class="small soft">{escape(measured)}</p>'
        body += page.plot(f"stages-{split}", stage_bars(row["stages"]))
    for title, lines in advice_lines(costs, plan["advice"]):
        shown = "".join(f"<li>{escape(line)}</li>" for line in lines)
        body += f"<p>{escape(title)}</p><ul>{shown}</ul>"
    return page_section("Stages of the input pipeline", body)


SECTION = ReportSection(place=55, draw=_stages)
