"""What the run's input work cost, beside the other ways to feed its trials."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from deeptool.report.figure_style import MARGIN, PALETTE, ROLE_COLOURS, Figure
from deeptool.report.page_parts import ReportPage, ReportSection, page_section
from deeptool.report.text import seconds


def cpu_bars(savings: Mapping[str, Any]) -> Figure:
    """CPU seconds of input work: what this run spent, and what the other ways would have cost."""
    own = "this run"
    parts = [
        ("producers", own, savings["producer_cpu_seconds"], ROLE_COLOURS["producer"]),
        ("broker", own, savings["broker_cpu_seconds"] or 0.0, ROLE_COLOURS["broker"]),
        ("reading in trials", own, savings["input_cpu_seconds"], ROLE_COLOURS["trial"]),
    ]
    known = [way for way in savings["ways"] if way["cpu_seconds"] is not None]
    parts += [("without a store", way["name"], way["cpu_seconds"], PALETTE[4]) for way in known]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [place],
            "x": [seconds],
            "marker": {"color": colour},
            "hovertemplate": f"{name}: %{{x:.2f}} CPU s<extra></extra>",
            # One entry for all other ways.
            "showlegend": name != "without a store" or place == known[0]["name"],
        }
        for name, place, seconds, colour in parts
    ]
    layout = {
        "barmode": "stack",
        "height": 300,
        "margin": {**MARGIN, "l": 250},
        "xaxis": {"title": {"text": "CPU seconds", "standoff": 6}},
        "yaxis": {
            "categoryorder": "array",
            # Plotly draws the first at the bottom.
            "categoryarray": [own, *[way["name"] for way in known]][::-1],
        },
        "legend": {"orientation": "h", "y": -0.3, "yanchor": "top", "traceorder": "normal"},
    }
    return {"data": data, "layout": layout}


def _savings(page: ReportPage) -> str:
    savings = page.summary["savings"]
    if not savings:
        return ""
    broker = savings["broker_cpu_seconds"]
    terms = [
        ("Producers", seconds(savings["producer_cpu_seconds"])),
        ("Broker", "not this run's own" if broker is None else seconds(broker)),
        ("Reading, in all trials", seconds(savings["input_cpu_seconds"])),
        ("This run, CPU seconds", f"<b>{seconds(savings['spent_cpu_seconds'])}</b>"),
    ]
    terms += [
        (f"{way['name']} ({savings['trials_counted']} trials)", _way_seconds(way))
        for way in savings["ways"]
    ]
    rows = "".join(f'<tr><td class="text">{escape(n)}</td><td>{v}</td></tr>' for n, v in terms)
    told = list(savings["formulas"])
    told += [
        f"Not known: {way['name']}: {way['why']}."
        for way in savings["ways"]
        if way["cpu_seconds"] is None
    ]
    left = "; ".join(f"trial {row['index']}: {row['why']}" for row in savings["left_out"])
    if left:
        told.append(f"Not credited: {left}.")
    formula = "".join(f"<p>{escape(text)}</p>" for text in told)
    body = (
        f'<div class="split">{page.plot("cpu", cpu_bars(savings))}'
        f"<div><table><tbody>{rows}</tbody></table>"
        f'<p style="margin-top:10px"><b>{escape(savings["verdict"])}</b></p></div></div>'
        f'<div class="formula">{formula}</div>'
    )
    return page_section("CPU time of the input work", body)


def _way_seconds(way: Mapping[str, Any]) -> str:
    return "not known" if way["cpu_seconds"] is None else seconds(way["cpu_seconds"])


SECTION = ReportSection(place=50, draw=_savings)
