"""Whether Slurm is asked to start a trial once more when its walltime ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpc.campaign.task import Task
from hpc.processes.caught_signals import CaughtSignals
from hpc.slurm.worker import Work, _Worker


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        ({}, {"epoch": 0}, False),
        ({}, {"epoch": 1, "kept_batches": 0}, True),
        ({}, {"epoch": 0, "kept_batches": 40}, True),
        ({"epoch": 2, "kept_batches": 40}, {"epoch": 2, "kept_batches": 40}, False),
        ({"epoch": 2, "kept_batches": 40}, {"epoch": 2, "kept_batches": 41}, True),
        ({"epoch": 2, "kept_batches": 40}, {"epoch": 3, "kept_batches": 0}, True),
    ],
)
def test_a_trial_is_started_again_where_it_came_further(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, int],
    after: dict[str, int],
    again: bool,
) -> None:
    monkeypatch.setattr(CaughtSignals, "install", lambda self: {})
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    work = Work(Task("trial-3", "trial", 3, ("deeptool",)), tmp_path, "run", None, None, False, 1)
    progress = work.run_dir / "trials" / "3" / "progress.json"
    for folder in (progress.parent, tmp_path / "jobs", tmp_path / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    progress.write_text(json.dumps(before))
    worker = _Worker(work)
    progress.write_text(json.dumps(after))
    refused = worker._ask_again(143)
    assert (refused is None) == again
    assert again or refused == "no checkpoint fits into its walltime, 1 minutes"
