"""One HTML page with everything in it: no request leaves the browser that shows it."""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path

from plotly.offline import get_plotlyjs

from deeptool.report.page_parts import ReportPage, Summary
from deeptool.report.sections import sections
from deeptool.report.text import amount


def render(summary: Summary, run_dir: Path) -> str:
    """The whole page.

    Parameters
    ----------
    summary : mapping
        As `summarize` returns it.
    run_dir : Path
        Where its pictures are.
    """
    page = ReportPage(summary, run_dir)
    parts = [section.draw(page) for section in sections()]
    # "</" would end the script element that holds the data.
    data = json.dumps(page.plots).replace("</", "<\\/")
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
