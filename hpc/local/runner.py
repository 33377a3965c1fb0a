"""Runs the tasks of a plan: each when it may begin, so many trials at a time, and ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.files import read_json
from hpc.broker.broker_state import BrokerState
from hpc.campaign.task import STOP_ORDER, Task
from hpc.local.broker_account import broker_state
from hpc.local.executor import Executor, Running
from hpc.processes.job import Job
from hpc.processes.record import JobRecord, read_job_record
from hpc.run.backend import LaunchContext
from hpc.run.run_folder import own_identity
from hpc.run.screen import trial_text, upload_text
from hpc.run.snapshot import take_snapshot
from hpc.run.state import DONE, RunState, new_task_state
from hpc.run.task_outcome import failure_text, read_outcome, shown_result, trial_state, upload_note

# What is stored, and the tasks that follow from it.
Uploaded = Callable[[str], tuple[Sequence[Mapping[str, Any]], Sequence[Task]]]

_STEP = 0.05
_SHOW_SECONDS = 0.25
# Besides its own grace: the time in which a job that has just been submitted hears of it.
_HEAR_SECONDS = 3.0


def startable(tasks: Iterable[Task], states: Mapping[str, str], max_parallel: int) -> list[Task]:
    """The tasks that are to begin now.

    Parameters
    ----------
    tasks : iterable of Task
        In the order to start them.
    states : mapping of str to str
        Of every task.
    max_parallel : int
        Trials at a time.
    """
    tasks = list(tasks)
    running = [task for task in tasks if states[task.name] == "running"]
    slots = max_parallel - sum(task.role == "trial" for task in running)
    found = []
    for task in tasks:
        free = states[task.name] == "waiting" and all(
            states[name] in ("complete", "ready") for name in task.after
        )
        if free and (task.role != "trial" or slots > 0):
            slots -= task.role == "trial"
            found.append(task)
    return found


class Runner:
    """Runs tasks through an executor, and keeps the run folder's state file.

    Parameters
    ----------
    context : LaunchContext
        What is launched, and where.
    state : RunState
        What the state file says.
    executor : Executor
        What starts the jobs.
    uploaded : callable
        Called once with the broker's address, when all producers are complete. Returns what they
        stored (rows of ``deeptool inspect --json``), and tasks to run besides.

    Attributes
    ----------
    state : RunState
        What the state file says, or is to say next.
    """

    def __init__(
        self, context: LaunchContext, state: RunState, executor: Executor, uploaded: Uploaded
    ) -> None:
        self.state = state
        self._plan, self._folder = context.plan, context.folder
        self._tasks = {task.name: task for task in context.tasks}
        self._executor, self._screen, self._signals = executor, context.screen, context.signals
        self._uploaded: Uploaded | None = uploaded
        self._running: dict[str, Running] = {}
        self._server = context.plan.server or ""
        self._shown = 0.0

    def run(self) -> None:
        """Run everything to its end; a trial that fails is noted in the state.

        Raises
        ------
        Terminated
            When a signal asked for the end.
        UserError, WorkError
            When a producer or the broker fails.
        """
        while True:
            self.tick()
            for name in [name for name, running in self._running.items() if running.done()]:
                self._ended(self._tasks[name], self._running.pop(name))
            self._watch_broker()
            for task in startable(self._tasks.values(), self._states(), self._plan.max_parallel):
                self._begin(task)
            self._after_uploads()
            if not {"waiting", "running"} & set(self._states().values()):
                return
            time.sleep(_STEP)

    def tick(self) -> None:
        """Heed signals, and draw what is to be drawn: to be called often."""
        self._signals.check()
        if time.monotonic() - self._shown > _SHOW_SECONDS:
            self._shown = time.monotonic()
            self._screen.show(lambda: take_snapshot(self._folder, self.state))

    def stop(self) -> None:
        """End what still runs: trials, then producers, then the broker; kill what does not end."""
        for group in STOP_ORDER:
            names = [name for name in self._running if self._tasks[name].role in group]
            if names and group != ("broker",):
                self._screen.event(f"stopping {', '.join(names)}", "yellow")
            self._stop([self._running[name] for name in names])
            for name in names:
                role = self._tasks[name].role
                end = "complete" if role == "broker" else "interrupted"
                facts = _facts(self._record(self._running.pop(name)))
                self._note(name, **{"end": time.time(), **facts, "state": end})
        self._save()

    def _states(self) -> dict[str, str]:
        return {name: self.state.tasks[name].state for name in self._tasks}

    def _stop(self, jobs: Sequence[Running]) -> None:
        begun = asked = time.monotonic()
        for job in jobs:
            job.stop()
        while remaining := [job for job in jobs if not job.done()]:
            now = time.monotonic()
            late = [job for job in remaining if now - begun > job.job.grace + _HEAR_SECONDS]
            for job in remaining if self._signals.insistent else late:
                job.kill()
            if now - asked > 0.5:
                # One that had only begun to start may have missed it.
                asked = now
                for job in remaining:
                    job.stop()
            time.sleep(_STEP)

    def _begin(self, task: Task) -> None:
        again = self.state.tasks[task.name].again
        if task.role == "trial":
            again = self._folder.prepare_trial(task)
        if task.role == "producer":
            self._folder.progress_file("producer", task.index).unlink(missing_ok=True)
        # An outcome that is there is that of an earlier attempt.
        self._folder.forget(task.name)
        job = Job(
            name=task.name,
            argv=task.command(self._server, again=again),
            log=self._folder.log(task.name),
            record=self._folder.record(task.name),
            grace=task.grace,
            env=task.env,
            launch=own_identity(),
        )
        running = self._executor.submit(job)
        self._running[task.name] = running
        self._note(task.name, state="running", start=time.time(), controller=running.controller)
        self._save()
        if task.role != "view":
            hparams = ", ".join(f"{key}={value}" for key, value in task.hparams.items())
            verb = "resumes" if again and task.role == "trial" else "started"
            self._say(f"{task.name} {verb}" + (f": {hparams}" if hparams else ""), "dim")

    def _watch_broker(self) -> None:
        running = self._running.get("broker")
        if running is None or self.state.tasks["broker"].state != "running":
            return
        account, record = self.state.broker, self._record(running)
        seen = broker_state(account.folder) if account is not None else BrokerState()
        process = record.processes.get("process", {})
        # Not one that somebody else keeps up there, nor one that was killed.
        mine = (seen.supervisor or {}).get("pid", 0) == process.get("pid")
        if mine and seen.state == "ready":
            self._server = seen.bootstrap
            self.state = replace(self.state, server=self._server)
            self._note("broker", state="ready")
            self._save()
            self._say(f"broker ready at {self._server} ({seen.mode} mode)", "green")

    def _after_uploads(self) -> None:
        states = self._states()
        # Without producers, what is stored is read from the first: by an existing or ready broker.
        producers = {states[name] for name, task in self._tasks.items() if task.role == "producer"}
        if self._uploaded is None or not self._server or producers - {"complete"}:
            return
        uploaded, self._uploaded = self._uploaded, None
        rows, tasks = uploaded(self._server)
        more = {task.name: new_task_state(task) for task in tasks}
        self._tasks |= {task.name: task for task in tasks}
        self.state = replace(self.state, uploads=tuple(rows), tasks={**self.state.tasks, **more})

    def _ended(self, task: Task, running: Running) -> None:
        record = self._record(running)
        outcome = read_outcome(self._folder.outcome(task.name), record)
        facts = {"end": time.time(), **_facts(record)}
        state = "complete" if facts["exit_code"] == 0 and task.role != "broker" else "failed"
        if task.role == "producer" and state == "complete":
            facts["progress"] = read_json(self._folder.progress_file("producer", task.index))
            facts["note"] = upload_note(outcome)
        if task.role == "trial":
            result = self._folder.result(task.index)
            facts["result"] = shown_result(result)
            facts["progress"] = read_json(self._folder.progress_file("trial", task.index))
            if state == "complete":
                state = trial_state(result)
        self._note(task.name, **{**facts, "state": state})
        self._save()
        rows = take_snapshot(self._folder, self.state).rows
        row = next(row for row in rows if row.name == task.name)
        if state in DONE:
            if task.role != "view":
                text = upload_text(row) if task.role == "producer" else trial_text(row)
                self._say(f"{task.name} {state}: {text}", "green" if state == "complete" else "red")
            return
        self._failed(task, facts["exit_code"], failure_text(record, outcome, 10))

    def _failed(self, task: Task, code: int, reason: str) -> None:
        log = self._folder.log(task.name)
        if task.role == "view":
            self._say(f"no picture of the samples: {reason.strip()} ({log})", "yellow")
        elif task.role == "trial":
            self._screen.failed(task.name, f"exit code {code}: {reason}", log)
        else:
            kind = UserError if code == UserError.exit_code else WorkError
            raise kind(f"{task.name} ended with exit code {code}: {reason}\n  log: {log}")

    def _record(self, running: Running) -> JobRecord:
        """A job's record; an empty one before it has begun, or where it was killed first."""
        return read_job_record(running.job.record) or JobRecord()

    def _say(self, line: str, style: str) -> None:
        self._screen.event(line, style)

    def _note(self, name: str, **facts: Any) -> None:
        self.state = self.state.with_task(name, **facts)

    def _save(self) -> None:
        self._folder.write_state(self.state)


def _facts(record: JobRecord) -> dict[str, Any]:
    """How a job ended, by its own record; one that was killed had no time to say."""
    known = {key: getattr(record, key) for key in ("end", "exit_code", "cpu_seconds")}
    return {"exit_code": 137} | {key: value for key, value in known.items() if value is not None}
