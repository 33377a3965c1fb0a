"""The files of a report."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeptool.errors import UserError
from deeptool.files import write_json, write_text
from deeptool.report.page import render

_PLAIN = (
    *("index", "status", "proc_id", "data_from", "epochs_run", "epochs_planned", "best_epoch"),
    *("wall_seconds", "cpu_seconds", "samples_read", "records_read", "bytes_read"),
    *("input_cpu_seconds", "pipeline_cpu_seconds", "saved_cpu_seconds", "folder", "error", "why"),
)
_SPREAD = {"hparams": "hparam", "best": "best", "final": "final"}


def write_report(summary: Mapping[str, Any], run_dir: Path) -> Path:
    """Write ``report.html``, ``report.csv`` (one row per trial) and ``report.json``.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    UserError
        The folder cannot be written.
    """
    page = run_dir / "report.html"
    try:
        write_text(page, render(summary, run_dir))
        write_text(run_dir / "report.csv", trials_csv(summary))
        write_json(run_dir / "report.json", summary)
    except PermissionError as error:
        raise UserError("the report cannot be written", seen=str(error)) from error
    return page


def trials_csv(summary: Mapping[str, Any]) -> str:
    """One row per trial; hparams and metrics as columns ``hparam.lr``, ``best.val_loss``, ...

    Outdated trials come last, with that as their status.
    """
    trials = [*summary["trials"], *summary["outdated"]]
    names = {
        kind: list(dict.fromkeys(name for trial in trials for name in trial[kind]))
        for kind in _SPREAD
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spread = [(kind, name) for kind in _SPREAD for name in names[kind]]
    writer.writerow([*_PLAIN, *[f"{_SPREAD[kind]}.{name}" for kind, name in spread]])
    for trial in trials:
        plain = [trial.get(name) for name in _PLAIN]
        writer.writerow([*plain, *[trial[kind].get(name) for kind, name in spread]])
    return text.getvalue()
