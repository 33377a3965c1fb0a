"""What a launch prints while it watches jobs on Slurm."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from hpc.run.screen import Screen
from hpc.run.snapshot import Snapshot, TaskRow
from hpc.slurm.watching import _tell


def test_why_jobs_wait_is_said_once_for_all_and_when_it_changes() -> None:
    text, shown = StringIO(), dict[str, str]()
    screen = Screen(Console(file=text, width=100))
    for reason in ("Dependency", "Resources", "Resources", "QOSMaxCpuPerUserLimit"):
        rows = [
            TaskRow(f"trial-{n}", "trial", n, "waiting", None, "", f"queued ({reason})", {}, {}, {})
            for n in range(3)
        ]
        _tell(screen, Snapshot("c", "r", "running", "", 1.0, tuple(rows)), shown)
    assert text.getvalue().splitlines() == [
        "trial-0 and 2 more waiting: queued (Resources)",
        "trial-0 and 2 more waiting: queued (QOSMaxCpuPerUserLimit)",
    ]
