"""Asking the brokers of a run to stop, wherever they are: a file in the run folder."""

from __future__ import annotations

from deeptool.files import read_json, write_json
from hpc.run.run_folder import RunFolder

STOP_FILE = "stop.json"
# The reason of those who end a campaign before its end.
DOWN = "deeptool-hpc down"


def stop_brokers(run_folder: RunFolder, run: str, reason: str) -> None:
    """Ask the brokers of a run to stop."""
    run_folder.services.mkdir(parents=True, exist_ok=True)
    write_json(run_folder.services / STOP_FILE, {"run": run, "reason": reason})


def stop_reason(run_folder: RunFolder, run: str) -> str | None:
    """Why the brokers of a run were asked to stop; None where they were not."""
    stop = read_json(run_folder.services / STOP_FILE) or {}
    return str(stop["reason"]) if stop.get("run") == run else None
