"""What a launch leaves for the report: when which process ran, and what the broker cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc.campaign.plan import Plan
from hpc.run.state import RunState, TaskState


def run_summary(plan: Plan, state: RunState, broker: Mapping[str, Any]) -> dict[str, Any]:
    """The run folder's ``summary.json``.

    Parameters
    ----------
    plan : Plan
        The campaign's.
    state : RunState
        As it is at the end.
    broker : mapping
        What it cost (``cpu_seconds``), ``mode``, ``bootstrap``, ``version``.
    """
    return {
        "name": plan.name,
        "state": state.state,
        "started": state.started,
        "finished": state.finished,
        "broker": broker,
        "uploads": list(state.uploads),
        "trials": len(plan.of("trial")),
        "timeline": [
            {"role": task.role, "name": name, "state": _shown_state(task), **part}
            for name, task in state.tasks.items()
            for part in _parts(task)
        ],
    }


def _shown_state(task: TaskState) -> str:
    return "outdated" if task.outdated else task.state


def _parts(task: TaskState) -> list[dict[str, Any]]:
    """When a task ran: more than once where a batch system started its job again."""
    earlier: list[dict[str, Any]] = [{"start": run.start, "end": run.end} for run in task.runs]
    if task.start is None:
        return earlier
    return [*earlier, {"start": task.start, "end": task.end}]
