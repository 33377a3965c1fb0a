"""One HTML page with everything in it: no request leaves the browser that shows it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from deeptool.report import figures
from deeptool.report.savings import ASSUMPTION
from deeptool.report.tables import dot, table, trial_columns, upload_columns
from deeptool.report.text import amount, bytes_text, duration, number, seconds

Summary = Mapping[str, Any]


def render(summary: Summary, run_dir: Path) -> str:
    """The whole page.

    Parameters
    ----------
    summary : mapping
        As `summarize` returns it.
    run_dir : Path
        Where its pictures are.
    """
    plots: dict[str, figures.Figure] = {}
    metrics = figures.metrics_of(summary)
    parts = [
        _cards(summary),
        _curves(summary, metrics, plots),
        _trials(summary),
        _hparams(summary, metrics, plots),
        _savings(summary, plots),
        _uploads(summary, run_dir),
        _timeline(summary, plots),
    ]
    # "</" would end the script element that holds the data.
    data = json.dumps(plots).replace("</", "<\\/")
    files = resources.files("deeptool.report")
    style, script = (files.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return f"""<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(summary["name"])} - deeptool</title>
<link rel="icon" href="data:,">
<style>{style}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<header class="top"><div>
<h1>{escape(summary["name"])}</h1>
<p class="soft">{escape(_subtitle(summary))}</p>
</div><button class="theme" type="button">Dark</button></header>
<main>
{"".join(parts)}
</main>
<footer>Written by deeptool report; the same as data: report.json, report.csv</footer>
<script type="application/json" id="figures">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _subtitle(summary: Summary) -> str:
    words = [f"{len(summary['trials'])} trials"]
    if summary["uploads"]:
        samples = sum(row.get("samples") or 0 for row in summary["uploads"])
        words.append(f"{len(summary['uploads'])} stored datasets of {amount(samples)} samples")
    if summary["broker"]:
        told = (summary["broker"].get("version"), summary["broker"].get("mode"))
        words.append(" ".join(["Kafka", *(str(word) for word in told if word)]))
    if summary["started"]:
        when = datetime.fromtimestamp(summary["started"]).astimezone()
        words.append(when.strftime("%d %B %Y, %H:%M %Z"))
    return " · ".join(words)


def _cards(summary: Summary) -> str:
    trials, savings = summary["trials"], summary["savings"]
    complete = [trial for trial in trials if trial["status"] == "complete"]
    left = len(trials) - len(complete)
    cards = []
    best = trials[0] if trials and trials[0]["best"].get(summary["metric"]) is not None else None
    if best:
        what = figures.label(best, summary["varied"])
        cards.append(
            (f"{summary['metric']}, best trial", number(best["best"][summary["metric"]]), what, "")
        )
    more = f"{left} failed or unfinished" if left else "all complete"
    cards.append(("Trials", f"{len(complete)} / {len(trials)}", more, "bad" if left else ""))
    if savings:
        share = savings["saved_share"]
        saved, good = savings["saved_cpu_seconds"], savings["saved_cpu_seconds"] > 0
        more = "every trial for itself would have been cheaper"
        if good and share is not None:
            more = f"{share:.0%} of what every trial for itself would take"
        tone = "good" if good else "bad"
        cards.append(("CPU time saved", duration(saved), more, tone))
        even = savings["break_even_trials"]
        pays = "never" if even is None else f"{even} trial{'s' if even > 1 else ''}"
        cards.append(
            ("Pays from", pays, "on, storing once costs less than preprocessing in each", "")
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


def _curves(summary: Summary, metrics: Sequence[str], plots: dict[str, figures.Figure]) -> str:
    parts = {}
    for metric in metrics:
        figure = figures.learning_curves(summary, metric)
        if figure["data"]:
            parts[metric] = _plot(plots, f"curves-{metric}", figure)
    return _by_metric("Learning curves", parts, _key(summary)) if parts else ""


def _key(summary: Summary) -> str:
    """Which colour is which trial; muted ones have none of their own."""
    colours = figures.colours(summary["trials"])
    drawn = [trial for trial in summary["trials"] if trial["history"]]
    chips = "".join(
        f'<span title="{escape(figures.label(trial, summary["varied"]))}">'
        f"{dot(colours[trial['index']])}{trial['index']}</span>"
        for trial in drawn
        if colours[trial["index"]] != figures.MUTED
    )
    more = " The best ten in colour." if len(drawn) > len(figures.PALETTE) else ""
    return (
        f'<div class="key"><span>trial</span>{chips}'
        f'<span class="note">Solid: validation. Dotted: training.{more}</span></div>'
    )


def _trials(summary: Summary) -> str:
    trials = summary["trials"]
    body = table(trial_columns(summary), trials, best=bool(trials and trials[0]["best"]))
    failures = [trial for trial in trials if trial["error"]]
    if failures:
        body += '<div class="failures">'
        for trial in failures:
            title = escape(figures.label(trial, summary["varied"]))
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
    return _section("Trials", body)


def _hparams(summary: Summary, metrics: Sequence[str], plots: dict[str, figures.Figure]) -> str:
    parts = {}
    for name in metrics:
        metric = f"val_{name}"
        together = figures.parallel(summary, metric)
        body = _plot(plots, f"parallel-{name}", together) if together else ""
        scatters = [
            (hparam, figures.against_metric(summary, hparam, metric))
            for hparam in summary["varied"]
        ]
        drawn = "".join(
            _plot(plots, f"against-{name}-{hparam}", figure)
            for hparam, figure in scatters
            if figure
        )
        body += f'<div class="grid">{drawn}</div>' if drawn else ""
        if body:
            parts[name] = body
    return _by_metric("Hyperparameters", parts) if parts else ""


def _savings(summary: Summary, plots: dict[str, figures.Figure]) -> str:
    savings = summary["savings"]
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
        "At these figures reading costs as much as preprocessing: storing does not pay."
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
        f'<div class="split">{_plot(plots, "cpu", figures.cpu_bars(savings))}'
        f"<div><table><tbody>{rows}</tbody><tfoot>{foot}</tfoot></table>"
        f'<p class="small soft" style="margin-top:10px">{pays}</p></div></div>'
        f'<div class="formula">{formula}</div>'
    )
    return _section("Time and CPU saved", body)


def _uploads(summary: Summary, run_dir: Path) -> str:
    if not summary["uploads"]:
        return ""

    body = table(upload_columns(), summary["uploads"])
    pictures = "".join(_picture(run_dir / name) for name in summary["pictures"])
    if pictures:
        body += f'<div class="pictures">{pictures}</div>'
    return _section("Stored datasets", body)


def _timeline(summary: Summary, plots: dict[str, figures.Figure]) -> str:
    if not summary["timeline"]:
        return ""
    return _section("Timeline", _plot(plots, "timeline", figures.timeline(summary["timeline"])))


def _picture(path: Path) -> str:
    data = b64encode(path.read_bytes()).decode()
    topic = escape(path.stem.removeprefix("samples_"))
    return (
        f'<figure><img alt="samples of {topic}" src="data:image/png;base64,{data}">'
        f"<figcaption>Samples of {topic}, as stored</figcaption></figure>"
    )


def _plot(plots: dict[str, figures.Figure], name: str, figure: figures.Figure) -> str:
    plots[name] = figure
    height = figure["layout"]["height"]
    return f'<div class="plot" data-figure="{escape(name)}" style="height:{height}px"></div>'


def _by_metric(title: str, parts: Mapping[str, str], below: str = "") -> str:
    """A section with one part a metric, of which the reader sees the one chosen."""
    buttons, bodies = "", ""
    for place, (metric, body) in enumerate(parts.items()):
        name, chosen = escape(metric), place == 0
        pressed, hidden = ("true", "") if chosen else ("false", " hidden")
        buttons += (
            f'<button type="button" data-metric="{name}" aria-pressed="{pressed}">{name}</button>'
        )
        bodies += f'<div data-of-metric="{name}"{hidden}>{body}</div>'
    choice = f'<div class="choice" role="group" aria-label="metric">{buttons}</div>'
    return _section(title, bodies + below, choice if len(parts) > 1 else "")


def _section(title: str, body: str, control: str = "") -> str:
    return f'<section><div class="head"><h2>{title}</h2>{control}</div>{body}</section>'
