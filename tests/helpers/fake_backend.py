"""A third backend: all of its code. Its queue is a folder, and jobs run while they are watched.

As in a batch system, what is queued outlives the launch that queued it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc.campaign.backend_traits import BackendTraits
from hpc.campaign.definition import Campaign
from hpc.campaign.fields import Strict
from hpc.campaign.plan import Plan
from hpc.campaign.task import Task
from hpc.processes.record import JobRecord, read_job_record, write_job_record
from hpc.run.backend import LaunchContext, Seen, Stopped
from hpc.run.run_folder import RunFolder
from hpc.run.screen import Screen
from hpc.run.state import RunState
from hpc.run.task_outcome import shown_result


class FakeOptions(Strict):
    """``[fake]`` in campaign and site files."""

    queue: str = "day"
    poll_seconds: int = 1


class FakeBackend:
    """Implements `hpc.run.backend.Backend`."""

    traits = BackendTraits(detaches=True, options=FakeOptions, watch_keys=("poll_seconds",))

    def render(self, campaign: Campaign, plan: Plan) -> str:
        options = campaign.options
        assert isinstance(options, FakeOptions)
        return f"queue {options.queue}: {', '.join(task.name for task in plan.tasks)}"

    def observe(self, folder: RunFolder, state: RunState, *, ask: bool = True) -> RunState:
        for name in state.tasks:
            record = read_job_record(folder.record(name))
            if record is not None:
                result = shown_result(folder.result(state.tasks[name].index))
                facts: dict[str, Any] = {"start": record.start, "end": record.end, "result": result}
                state = state.with_task(name, state="complete", **facts)
        return state

    def look(self, folder: RunFolder, state: RunState) -> Seen:
        return Seen(self.observe(folder, state), queued(folder), state.submitted)

    def check(self, campaign: Campaign, screen: Screen) -> None:
        pass

    def end_earlier(self, folder: RunFolder, state: RunState, check: Callable[[], None]) -> None:
        for name in queued(folder):
            (queue(folder) / name).unlink()
            note(folder, f"cancelled {name}")

    def start(self, context: LaunchContext, state: RunState) -> RunState:
        queue(context.folder).mkdir(exist_ok=True)
        for task in context.tasks:
            (queue(context.folder) / task.name).write_text(json.dumps(dict(task.env)))
            state = replace(state, jobs={**state.jobs, task.name: (task.name,)})
            context.folder.write_state(state)
        state = replace(state, submitted=True)
        context.folder.write_state(state)
        return state

    def watch(self, context: LaunchContext, state: RunState) -> None:
        for task in context.plan.tasks:
            if task.name in queued(context.folder):
                # As it was queued, whoever watches it.
                env = json.loads((queue(context.folder) / task.name).read_text())
                run_job(context.folder, replace(task, env=env))
                (queue(context.folder) / task.name).unlink()
        state = self.observe(context.folder, state)
        context.folder.write_state(replace(state, state="complete", finished=time.time()))

    def finish(self, context: LaunchContext) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
        return None, queued(context.folder)

    def down(self, folder: RunFolder, state: RunState) -> Stopped:
        names = queued(folder)
        self.end_earlier(folder, state, lambda: None)
        return Stopped(names)


def queue(folder: RunFolder) -> Path:
    return folder.folder / "queue"


def queued(folder: RunFolder) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in queue(folder).glob("*")))


def run_job(folder: RunFolder, task: Task) -> None:
    """What a job does on its node: a trial's result says which hparams made it."""
    start = time.time()
    if task.role == "trial":
        resumed = folder.prepare_trial(task)
        note(folder, f"{'resumed' if resumed else 'ran'} {dict(task.hparams)}")
        result = {"status": "complete", "hparams": dict(task.hparams), "best": {"val_loss": 0.5}}
        times = {"started": start, "finished": time.time()}
        (folder.trial(task.index) / "result.json").write_text(json.dumps({**result, **times}))
        (folder.trial(task.index) / "config.json").write_text("{}")
    record = JobRecord(task.name, start, time.time(), 0)
    write_job_record(folder.record(task.name), record)


def note(folder: RunFolder, what: str) -> None:
    """Outside the run folder, where nothing deletes it."""
    with open(folder.folder.parent / "notes", "a") as file:
        file.write(what + "\n")


BACKEND = FakeBackend()
