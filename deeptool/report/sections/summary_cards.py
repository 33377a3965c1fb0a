"""The figures at the head of the page."""

from __future__ import annotations

from html import escape

from deeptool.report.figure_style import trial_label
from deeptool.report.page_parts import ReportPage, ReportSection
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
        share = savings["saved_share"]
        saved, good = savings["saved_cpu_seconds"], savings["saved_cpu_seconds"] > 0
        more = "preprocessing in each trial would have been cheaper"
        if good and share is not None:
            more = f"{share:.0%} of what preprocessing in each trial would take"
        tone = "good" if good else "bad"
        cards.append(("CPU time saved", duration(saved), more, tone))
        even = savings["break_even_trials"]
        pays = "never" if even is None else f"{even} trial{'s' if even > 1 else ''}"
        cards.append(
            ("Pays from", pays, "from there on, storing costs less than preprocessing in each", "")
        )
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


SECTION = ReportSection(place=10, draw=_cards)
