"""The table of trials, with what failed and what was noted."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from deeptool.report.figure_style import trial_label
from deeptool.report.page_parts import ReportPage, ReportSection, Summary, page_section
from deeptool.report.tables import Cell, Column, table, trial_columns


def _trials(page: ReportPage) -> str:
    summary = page.summary
    trials = summary["trials"]
    ranked = bool(trials and trials[0]["status"] == "complete" and trials[0]["best"])
    body = table(trial_columns(summary), trials, best=ranked) if trials else ""
    failures = [trial for trial in trials if trial["error"]]
    if failures:
        body += '<div class="failures">'
        for trial in failures:
            title = escape(trial_label(trial, summary["varied"]))
            body += f"<h3>{title}</h3><pre>{escape(trial['error'])}</pre>"
        body += "</div>"
    noted: dict[str, list[int]] = {}
    for trial in sorted(trials, key=lambda trial: trial["index"]):
        for note in trial["notes"]:
            noted.setdefault(str(note), []).append(trial["index"])
    if noted:
        items = "".join(
            f"<li>trial {', '.join(map(str, told))}: {escape(note)}</li>"
            for note, told in noted.items()
        )
        body += f'<details class="small soft"><summary>Notes</summary><ul>{items}</ul></details>'
    return page_section("Trials", body + _outdated(summary))


def _outdated(summary: Summary) -> str:
    """Trials that would be made another way now, apart from those that are compared."""
    trials = summary["outdated"]
    if not trials:
        return ""
    columns = [
        Column("trial", lambda trial: Cell(trial["index"], hint=trial["folder"]), text=True),
        Column("state", lambda trial: Cell(trial["status"], pill=True), text=True),
        Column("hparams", _hparams, text=True),
        Column("what has changed since", lambda trial: Cell(trial["why"]), text=True),
    ]
    return f"<h3>Outdated: {len(trials)}, not compared with the others</h3>{table(columns, trials)}"


def _hparams(trial: Mapping[str, Any]) -> Cell:
    named = [f"{name}={trial['hparams'].get(name)}" for name in trial["planned_hparams"]]
    return Cell(", ".join(named))


SECTION = ReportSection(place=30, draw=_trials)
