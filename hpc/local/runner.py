"""Runs the tasks of a plan: each when it may begin, so many trials at a time, and ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.files import read_json
from hpc.broker.folder import STATE as BROKER_STATE
from hpc.campaign.plan import STOP_ORDER, Plan, Task
from hpc.local.executor import Executor, Running
from hpc.processes.caught_signals import CaughtSignals
from hpc.processes.job import Job, read_record
from hpc.run.outcome import failure, shown_result, upload_note
from hpc.run.run_folder import RunFolder, own_identity, write_state
from hpc.run.screen import Screen, trial_text, upload_text
from hpc.run.snapshot import take_snapshot

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
    plan, tasks
        The plan, and what of it is to run.
    run : RunFolder
        The folder.
    state : dict
        What the state file says; kept up to date here.
    uploaded : callable
        Called once, when all producers are complete; returns tasks to run besides.
    """

    def __init__(
        self,
        plan: Plan,
        tasks: Sequence[Task],
        run: RunFolder,
        state: dict[str, Any],
        executor: Executor,
        screen: Screen,
        signals: CaughtSignals,
        uploaded: Callable[[str], Sequence[Task]],
    ) -> None:
        self._plan, self._run, self._state = plan, run, state
        self._tasks = {task.name: task for task in tasks}
        self._executor, self._screen, self._signals = executor, screen, signals
        self._uploaded: Callable[[str], Sequence[Task]] | None = uploaded
        self._running: dict[str, Running] = {}
        self._server = plan.server or ""
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
            self._screen.show(lambda: take_snapshot(self._run, self._state))

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
                facts = {"end": time.time(), **_facts(self._running.pop(name))}
                self._note(name, state=end, **facts)
        self._save()

    def _states(self) -> dict[str, str]:
        return {name: self._state["tasks"][name]["state"] for name in self._tasks}

    def _stop(self, jobs: Sequence[Running]) -> None:
        begun = asked = time.monotonic()
        for job in jobs:
            job.stop()
        while left := [job for job in jobs if not job.done()]:
            now = time.monotonic()
            late = [job for job in left if now - begun > job.job.grace + _HEAR_SECONDS]
            for job in left if self._signals.insistent else late:
                job.kill()
            if now - asked > 0.5:
                # One that had only begun to start may have missed it.
                asked = now
                for job in left:
                    job.stop()
            time.sleep(_STEP)

    def _begin(self, task: Task) -> None:
        again = self._state["tasks"][task.name].get("again", False)
        if task.role == "trial":
            again = self._run.prepare_trial(task)
        if task.role == "producer":
            self._run.progress_file("producer", task.index).unlink(missing_ok=True)
        job = Job(
            name=task.name,
            argv=task.command(self._server, again=again),
            log=self._run.log(task.name),
            record=self._run.record(task.name),
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
            verb = "goes on" if again and task.role == "trial" else "started"
            self._say(f"{task.name} {verb}" + (f": {hparams}" if hparams else ""), "dim")

    def _watch_broker(self) -> None:
        running = self._running.get("broker")
        if running is None or self._state["tasks"]["broker"]["state"] != "running":
            return
        seen = read_json(Path(self._state["broker"]["folder"]) / BROKER_STATE) or {}
        process = read_record(running.job.record).get("processes", {}).get("process", {})
        # Not one that somebody else keeps up there, nor one that was killed.
        mine = seen.get("supervisor", {}).get("pid", 0) == process.get("pid")
        if mine and seen["state"] == "ready":
            self._server = self._state["server"] = seen["bootstrap"]
            self._note("broker", state="ready")
            self._save()
            self._say(f"broker ready at {self._server} ({seen['mode']} mode)", "green")

    def _after_uploads(self) -> None:
        states = self._states()
        producers = {states[name] for name, task in self._tasks.items() if task.role == "producer"}
        if self._uploaded is None or producers != {"complete"}:
            return
        uploaded, self._uploaded = self._uploaded, None
        for task in uploaded(self._server):
            self._tasks[task.name] = task
            self._state["tasks"][task.name] = new_entry(task)

    def _ended(self, task: Task, running: Running) -> None:
        facts = _facts(running)
        code = facts["exit_code"]
        state = "complete" if code == 0 and task.role != "broker" else "failed"
        if task.role == "producer" and state == "complete":
            facts["progress"] = read_json(self._run.progress_file("producer", task.index))
            facts["note"] = upload_note(read_record(running.job.record).get("tail", []))
        if task.role == "trial":
            result = read_json(self._run.trial(task.index) / "result.json") or {}
            facts["result"] = shown_result(result)
            facts["progress"] = read_json(self._run.progress_file("trial", task.index))
            if state == "complete" and result.get("status") != "complete":
                state = "failed"
        facts.setdefault("end", time.time())
        self._note(task.name, state=state, **facts)
        self._save()
        row = next(
            row for row in take_snapshot(self._run, self._state).rows if row.name == task.name
        )
        if state == "complete":
            if task.role != "view":
                text = upload_text(row) if task.role == "producer" else trial_text(row)
                self._say(f"{task.name} complete: {text}", "green")
            return
        self._failed(task, code, read_record(running.job.record).get("tail", []))

    def _failed(self, task: Task, code: int, tail: Sequence[str]) -> None:
        log = self._run.log(task.name)
        reason = failure(tail, 10)
        if task.role == "view":
            self._say(f"no picture of the samples: {reason.strip()} ({log})", "yellow")
        elif task.role == "trial":
            self._say(f"{task.name} failed (exit code {code}): {reason}\n  log: {log}", "red")
        else:
            self._note(task.name, state="failed")
            kind = UserError if code == UserError.exit_code else WorkError
            raise kind(f"{task.name} ended with exit code {code}: {reason}\n  log: {log}")

    def _say(self, line: str, style: str) -> None:
        self._screen.event(line, style)

    def _note(self, name: str, **facts: Any) -> None:
        self._state["tasks"][name] |= facts

    def _save(self) -> None:
        write_state(self._run, self._state)


def new_entry(task: Task) -> dict[str, Any]:
    """A task that has not begun, as the state file has it."""
    return {
        "role": task.role,
        "index": task.index,
        "state": "waiting",
        "proc_id": task.proc_id,
        "hparams": dict(task.hparams),
    }


def _facts(running: Running) -> dict[str, Any]:
    """How a job ended, by its own record; one that was killed had no time to say."""
    record = read_record(running.job.record)
    known = ("end", "exit_code", "cpu_seconds")
    return {"exit_code": 137} | {key: record[key] for key in known if key in record}
