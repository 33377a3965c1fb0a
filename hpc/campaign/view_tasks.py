"""The processes that draw samples of what a campaign has stored, for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpc.campaign.plan import Plan, reporting
from hpc.campaign.task import Task


def view_tasks(plan: Plan, uploads: Sequence[Mapping[str, Any]]) -> tuple[Task, ...]:
    """The processes that draw samples of stored datasets, for the report.

    Parameters
    ----------
    uploads : sequence of mapping
        Rows of ``deeptool inspect --json``.
    """
    tasks = (
        Task(
            name=f"view-{row['topic']}",
            role="view",
            index=int(row["proc_id"]),
            argv=(
                # A folder says which dataset it is.
                *("deeptool", "view", *(() if plan.sealed else (str(row["session"]),))),
                *(*plan.inspected, "--procID", str(row["proc_id"]), "--split", str(row["split"])),
                *("--output", str(plan.run_dir / "report" / f"samples_{row['topic']}.png")),
            ),
        )
        for row in uploads
        if row["split"] == "train"
    )
    return tuple(reporting(task, plan.run_dir) for task in tasks)
