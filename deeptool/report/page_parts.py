"""What a section of the report is, and the HTML that sections are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from deeptool.report.figure_style import Figure

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class ReportPage:
    """A page that is being made.

    Attributes
    ----------
    summary : mapping
        As `deeptool.report.summarize` returns it.
    run_dir : Path
        Where the pictures are.
    plots : dict of str to Figure
        The figures so far; the page's script draws each in its place.
    """

    summary: Summary
    run_dir: Path
    plots: dict[str, Figure] = field(default_factory=dict)

    def plot(self, name: str, figure: Figure) -> str:
        """Put a figure on the page; returns the HTML of its place."""
        self.plots[name] = figure
        height = figure["layout"]["height"]
        return f'<div class="plot" data-figure="{escape(name)}" style="height:{height}px"></div>'


@dataclass(frozen=True)
class ReportSection:
    """One section of the page: figures, a table, or both.

    Attributes
    ----------
    place : int
        Sections stand in ascending order of it.
    draw : callable
        Returns the section's HTML; "" where there is nothing to show.
    """

    place: int
    draw: Callable[[ReportPage], str]


def page_section(title: str, body: str, control: str = "") -> str:
    return f'<section><div class="head"><h2>{title}</h2>{control}</div>{body}</section>'


def section_by_metric(title: str, parts: Mapping[str, str], below: str = "") -> str:
    """A section with one part per metric; the reader chooses which one to see."""
    buttons, bodies = "", ""
    for place, (metric, body) in enumerate(parts.items()):
        name, chosen = escape(metric), place == 0
        pressed, hidden = ("true", "") if chosen else ("false", " hidden")
        buttons += (
            f'<button type="button" data-metric="{name}" aria-pressed="{pressed}">{name}</button>'
        )
        bodies += f'<div data-of-metric="{name}"{hidden}>{body}</div>'
    choice = f'<div class="choice" role="group" aria-label="metric">{buttons}</div>'
    return page_section(title, bodies + below, choice if len(parts) > 1 else "")
