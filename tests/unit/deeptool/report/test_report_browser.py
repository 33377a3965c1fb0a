"""The report's page in a real browser: its plots are drawn, and nothing fails."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_run import fake_run

from deeptool.report import summarize, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; CI installs it")


def test_every_plot_is_drawn_without_an_error(tmp_path: Path) -> None:
    run_dir = fake_run(tmp_path / "run")
    page = write_report(summarize(run_dir), run_dir)
    shown = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={tmp_path / 'profile'}",
            *("--window-size=1400,4000", "--virtual-time-budget=5000"),
            *("--enable-logging=stderr", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    # What the page's scripts say; errors among it are lines of the console too.
    assert [line for line in shown.stderr.splitlines() if "CONSOLE" in line] == []
    body = shown.stdout.split("<body>", 1)[1].split("<script", 1)[0]
    places = re.findall(r'<div[^>]*class="plot[^>]*>', body)
    drawn = [place for place in places if "js-plotly-plot" in place]
    # Learning curves, parallel axes, one hparam each, savings, timeline: of the metric shown.
    assert len(drawn) >= 6
    assert body.count('class="main-svg"') >= len(drawn)
    assert "NaN" not in body
