"""The CPU that the run saved, term by term."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from deeptool.report.figure_style import BAD, MARGIN, ROLE_COLOURS, Figure
from deeptool.report.page_parts import ReportPage, ReportSection, page_section
from deeptool.report.savings import ASSUMPTION
from deeptool.report.text import seconds


def cpu_bars(savings: Mapping[str, Any]) -> Figure:
    """CPU seconds of input work: preprocessing in each trial, and what this run spent."""
    in_each, shared = "preprocessing in each trial", "this run"
    parts = [
        ("input pipeline", in_each, savings["pipeline_cpu_seconds"], BAD),
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
        "margin": {**MARGIN, "l": 190},
        "xaxis": {"title": {"text": "CPU seconds", "standoff": 6}},
        "yaxis": {"categoryorder": "array", "categoryarray": [shared, in_each]},
        "legend": {"orientation": "h", "y": -0.4, "yanchor": "top", "traceorder": "normal"},
    }
    return {"data": data, "layout": layout}


def _savings(page: ReportPage) -> str:
    savings = page.summary["savings"]
    if not savings:
        return ""
    broker = savings["broker_cpu_seconds"]
    even = savings["break_even_trials"]
    counted = savings["trials_counted"]
    terms = [
        (f"Input pipeline, had {counted} trials run it", seconds(savings["pipeline_cpu_seconds"])),
        ("Reading, in all trials", f"− {seconds(savings['input_cpu_seconds'])}"),
        ("Producers", f"− {seconds(savings['producer_cpu_seconds'])}"),
        ("Broker", "not this run's own" if broker is None else f"− {seconds(broker)}"),
    ]
    rows = "".join(f'<tr><td class="text">{n}</td><td>{v}</td></tr>' for n, v in terms)
    total = seconds(savings["saved_cpu_seconds"])
    foot = f'<tr><td class="text">Saved, CPU seconds</td><td>{total}</td></tr>'
    per_trial = seconds(savings["saved_per_trial_cpu_seconds"])
    pays = (
        "Reading costs as much as preprocessing here: storing does not pay."
        if even is None
        else f"A trial saves {per_trial} CPU s, so storing pays from {even} "
        f"trial{'s' if even > 1 else ''} on."
    )
    left = "; ".join(f"trial {row['index']}: {row['why']}" for row in savings["left_out"])
    told = (savings["formula"], savings["break_even_formula"], ASSUMPTION)
    formula = "".join(f"<p>{escape(text)}</p>" for text in told)
    if left:
        formula += f"<p>Not credited: {escape(left)}.</p>"
    body = (
        f'<div class="split">{page.plot("cpu", cpu_bars(savings))}'
        f"<div><table><tbody>{rows}</tbody><tfoot>{foot}</tfoot></table>"
        f'<p class="small soft" style="margin-top:10px">{pays}</p></div></div>'
        f'<div class="formula">{formula}</div>'
    )
    return page_section("Time and CPU saved", body)


SECTION = ReportSection(place=50, draw=_savings)
