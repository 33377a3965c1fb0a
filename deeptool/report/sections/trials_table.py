"""The table of trials, with what failed and what was noted."""

from __future__ import annotations

from html import escape

from deeptool.report.figure_style import trial_label
from deeptool.report.page_parts import ReportPage, ReportSection, page_section
from deeptool.report.tables import table, trial_columns


def _trials(page: ReportPage) -> str:
    summary = page.summary
    trials = summary["trials"]
    ranked = bool(trials and trials[0]["status"] == "complete" and trials[0]["best"])
    body = table(trial_columns(summary), trials, best=ranked)
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
    return page_section("Trials", body)


SECTION = ReportSection(place=30, draw=_trials)
