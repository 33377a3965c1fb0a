"""The figures at the head of the page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from deeptool.report.figure_style import trial_label
from deeptool.report.page_parts import ReportPage, ReportSection
from deeptool.report.savings import way_name
from deeptool.report.text import amount, bytes_text, duration, number


def _cards(page: ReportPage) -> str:
    summary = page.summary
    trials, savings = summary["trials"], summary["savings"]
    complete = [trial for trial in trials if trial["status"] == "complete"]
    diverged = sum(trial["status"] == "diverged" for trial in trials)
    left = len(trials) - len(complete) - diverged
    cards = []
    first = complete[0] if complete else None
    best = first if first and first["best"].get(summary["metric"]) is not None else None
    if best:
        what = trial_label(best, summary["varied"])
        cards.append(
            (f"{summary['metric']}, best trial", number(best["best"][summary["metric"]]), what, "")
        )
    outdated = len(summary["outdated"])
    words = {"failed or unfinished": left, "diverged": diverged, "outdated": outdated}
    more = ", ".join(f"{count} {word}" for word, count in words.items() if count) or "all complete"
    cards.append(("Trials", f"{len(complete)} / {len(trials)}", more, "bad" if left else ""))
    if savings:
        cards += _savings_cards(savings)
    read = sum(trial["samples_read"] or 0 for trial in trials)
    size = sum(trial["bytes_read"] or 0 for trial in trials)
    cards.append(
        ("Samples read", amount(read), f"{bytes_text(size)} from Kafka" if size else "", "")
    )
    if summary["started"] and summary["finished"]:
        spent = sum(trial["wall_seconds"] or 0.0 for trial in trials)
        elapsed = summary["finished"] - summary["started"]
        cards.append(("Elapsed", duration(elapsed), f"trials alone, summed: {duration(spent)}", ""))
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card {tone}"><div class="name">{escape(name)}</div>'
            f'<div class="value">{escape(value)}</div><div class="more">{escape(more)}</div></div>'
            for name, value, more, tone in cards
        )
        + "</div>"
    )


def _savings_cards(savings: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What was saved against the cheapest other way; red where that would have been cheaper."""
    share, saved = savings["saved_share"], savings["saved_cpu_seconds"]
    name, pays = way_name(savings), savings["break_even_trials"]
    if saved < 0:
        cards = [("CPU time lost", duration(-saved), f"{name} would have cost less", "bad")]
    else:
        more = f"against {name}" if share is None else f"{share:.0%} of {name}"
        cards = [("CPU time saved", duration(saved), more, "good")]
    count = "never" if pays is None else f"{pays} trial{'s' if pays > 1 else ''}"
    more = f"from there on, storing costs less than {name}"
    return [*cards, ("Pays from", count, more, "")]


SECTION = ReportSection(place=10, draw=_cards)
