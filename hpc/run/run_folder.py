"""A campaign's run folder: its files, its lock, what runs there, and how to end that."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeptool.errors import UserError
from deeptool.files import lock, read_json, write_json
from hpc.broker.folder import STATE as BROKER_STATE
from hpc.broker.folder import end_processes
from hpc.campaign.plan import GRACE, STOP_ORDER, Task
from hpc.processes.identity import alive, identity, wait_gone
from hpc.processes.job import read_record, signal_all

RUNS = Path("runs")
# States of a launch in which nothing of it runs any more.
ENDED = ("complete", "failed", "interrupted")
_OWN = ("trials", "producers", "jobs", "logs", "report", "services", "secrets", "cache")
_FILES = ("campaign.json", "plan.json", "state.json", "summary.json", "done.json")
_REPORT = ("report.html", "report.csv", "report.json")


class RunFolder:
    """The files of one run folder.

    ``campaign.json``, ``plan.json``, ``state.json`` (what the launch knows of each task),
    ``summary.json``, ``done.json`` (on Slurm: how it ended) and the report; ``services/`` (what its
    brokers say of themselves), ``secrets/`` (their password); ``jobs/<task>.json`` (what each
    process says of itself), ``logs/<task>.log``, ``producers/<procID>/progress.json``,
    ``trials/<index>/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.campaign_file, self.plan_file = folder / "campaign.json", folder / "plan.json"
        self.state_file, self.summary_file = folder / "state.json", folder / "summary.json"
        self.done_file, self.services = folder / "done.json", folder / "services"

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def record(self, name: str) -> Path:
        return self.folder / "jobs" / f"{name}.json"

    def trial(self, index: int) -> Path:
        return self.folder / "trials" / str(index)

    def progress_file(self, role: str, index: int) -> Path:
        """Where a producer or a trial says how far it is."""
        folder = self.folder / {"producer": "producers", "trial": "trials"}[role] / str(index)
        return folder / "progress.json"

    def state(self) -> dict[str, Any]:
        """The state file, empty where nothing was launched yet."""
        return read_json(self.state_file) or {}

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Make the folders that the tasks write to."""
        for name in ("logs", "jobs", "report", "cache"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for task in tasks:
            if task.role in ("producer", "trial"):
                file = self.progress_file(task.role, task.index)
                file.parent.mkdir(parents=True, exist_ok=True)

    def prepare_trial(self, task: Task) -> bool:
        """Make a trial's folder; whether an interrupted run of it can go on."""
        folder = self.trial(task.index)
        result = read_json(folder / "result.json") or {}
        resume = (folder / "config.json").exists() and result.get("status") != "failed"
        if not resume and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"index": task.index, "hparams": dict(task.hparams), "proc_id": task.proc_id}
        write_json(folder / "trial.json", facts)
        return resume

    def clear(self, *folders: Path) -> None:
        """Delete what launches left here, and `folders`; nothing else."""
        for name in (*_OWN, *_FILES, *_REPORT):
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock.

        Raises
        ------
        UserError
            When another launch is at work there, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = lock(self.folder / ".lock", wait=False)
        except BlockingIOError as error:
            holder = (self.folder / ".lock").read_text(encoding="utf-8").strip()
            raise UserError(
                "another launch is already using this run folder",
                seen=f"process {holder}, {self.folder}",
                next_step=f"wait for it, or end it with: deeptool-hpc down {self.folder}",
            ) from error
        except OSError as error:
            raise UserError(
                "the run folder cannot be written",
                seen=f"{self.folder}: {error.strerror}",
                next_step="choose another one: --run-dir DIR",
            ) from error
        with file:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def launch(self) -> Mapping[str, float] | None:
        """The launch that is at work here, if one is."""
        launch: Mapping[str, float] | None = self.state().get("launch")
        return launch if alive(launch) else None


def open_run(folder: Path | None) -> RunFolder:
    """The run of a folder; of the newest one below ``runs/`` where none is given.

    Raises
    ------
    UserError
        When nothing was launched there.
    """
    if folder is not None:
        run = RunFolder(Path(os.path.abspath(folder)))
        if run.state():
            return run
        raise UserError(
            "no campaign was launched there", seen=str(folder), valid="a folder with state.json"
        )
    files = [file for file in RUNS.glob("*/campaign.json") if (file.parent / "state.json").exists()]
    if not files:
        raise UserError(
            "no campaign was launched here",
            seen=str(RUNS.absolute()),
            valid="a run folder as the argument, or runs/ with one below",
            next_step="deeptool-hpc launch CAMPAIGN.toml",
        )
    newest = max(files, key=lambda file: (file.parent / "state.json").stat().st_mtime)
    return RunFolder(newest.parent.absolute())


def new_id() -> str:
    """An id for a run folder, for ever."""
    return uuid.uuid4().hex[:12]


def own_identity() -> dict[str, float]:
    """The identity of this process."""
    return identity(os.getpid())


def running_processes(run: RunFolder) -> dict[str, dict[str, Mapping[str, float]]]:
    """Task name -> those of its processes that still run: ``job``, ``controller``, ``process``."""
    found = {}
    for name, task in run.state().get("tasks", {}).items():
        known = read_record(run.record(name)).get("processes", {})
        known["controller"] = task.get("controller")
        if processes := {kind: each for kind, each in known.items() if alive(each)}:
            found[name] = processes
    return found


def stop_left(run: RunFolder) -> dict[str, bool]:
    """End what a launch that is no more has left: trials, then producers, then the broker.

    Returns
    -------
    dict
        Task name -> whether it ended when asked to; the others were killed.
    """
    ended: dict[str, bool] = {}
    state = run.state()
    for group in STOP_ORDER:
        grace = max(GRACE[role] for role in group)
        found = {
            name: processes
            for name, processes in running_processes(run).items()
            if state["tasks"][name]["role"] in group
        }
        for processes in found.values():
            # One of them: each passes it on, and the process itself is to be asked once.
            asked = next(kind for kind in ("job", "controller", "process") if kind in processes)
            signal_all([processes[asked]], signal.SIGTERM)
        deadline = time.monotonic() + grace + 2
        for name, processes in found.items():
            ended[name] = wait_gone(processes.values(), deadline - time.monotonic())
            if not ended[name]:
                signal_all(processes.values(), signal.SIGKILL)
                wait_gone(processes.values(), 5)
    if not ended.get("broker", True):
        end_processes(read_json(Path(state["broker"]["folder"]) / BROKER_STATE) or {})
    return ended


def write_state(run: RunFolder, state: Mapping[str, Any]) -> None:
    """Replace the state file."""
    write_json(run.state_file, state)
