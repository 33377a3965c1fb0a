"""A campaign's run folder: its files and its lock."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeptool.errors import UserError
from deeptool.files import lock, read_json, write_json
from hpc.campaign.plan import SNAPSHOT_VARIABLE, outcome_file
from hpc.campaign.task import Task
from hpc.processes.identity import alive, identity
from hpc.run.state import DONE, RunState, read_run_state, write_run_state
from hpc.run.task_outcome import trial_state

RUNS = Path("runs")
_FOLDERS = ("trials", "producers", "jobs", "logs", "report", "services", "secrets", "cache", "code")
_FILES = ("campaign.json", "plan.json", "summary.json", "done.json", "outdated.json")
_REPORT = ("report.html", "report.csv", "report.json")


class RunFolder:
    """The files of one run folder.

    ``campaign.json``, ``plan.json``, ``state.json`` (what the launch knows of each task),
    ``outdated.json`` (which trials the report shows apart, and why), ``summary.json``,
    ``done.json`` (in a batch system: how it ended) and the report; ``code/<id>/`` (copies of the
    settings, the model and the user's modules, as launches found them); ``services/``
    (what its brokers report), ``secrets/`` (their password); ``jobs/<task>.json`` (what each job
    records) and ``jobs/<task>.outcome.json`` (how its process ended),
    ``logs/<task>.log``, ``producers/<procID>/progress.json``, ``trials/<index>/``.

    A launch changes it by `_write`, `_remove`, `_make` and `_copy` only, each of which is done or
    not done: after any of them the launch may be killed, and the next one continues from there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.campaign_file, self.plan_file = folder / "campaign.json", folder / "plan.json"
        self.state_file, self.summary_file = folder / "state.json", folder / "summary.json"
        self.done_file, self.services = folder / "done.json", folder / "services"
        self.outdated_file = folder / "outdated.json"

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def record(self, name: str) -> Path:
        return self.folder / "jobs" / f"{name}.json"

    def outcome(self, name: str) -> Path:
        return outcome_file(self.folder, name)

    def trial(self, index: int) -> Path:
        return self.folder / "trials" / str(index)

    def code(self, name: str) -> Path:
        """Where the copies of a launch's files are: `hpc.run.settings_plan.code_id`."""
        return self.folder / "code" / name

    def progress_file(self, role: str, index: int) -> Path:
        """Where a producer or a trial says how far it is."""
        folder = self.folder / {"producer": "producers", "trial": "trials"}[role] / str(index)
        return folder / "progress.json"

    def read_state(self) -> RunState | None:
        """The state file, None where nothing was launched yet.

        Raises
        ------
        UserError
            When it is damaged, or of a newer format.
        """
        return read_run_state(self.state_file)

    def state(self) -> RunState:
        """The state file.

        Raises
        ------
        UserError
            When nothing was launched there yet; else as `read_state`.
        """
        state = self.read_state()
        if state is None:
            raise UserError(
                "no campaign was launched there",
                seen=str(self.folder),
                valid="a folder with state.json",
            )
        return state

    def read_campaign(self) -> Mapping[str, Any]:
        """What was launched last (`hpc.campaign.toml_file.dump`), empty where nothing was."""
        return read_json(self.campaign_file) or {}

    def write_state(self, state: RunState) -> None:
        self._write(self.state_file, state)

    def write_launch(self, campaign: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        """Say what is launched."""
        self._write(self.campaign_file, campaign)
        self._write(self.plan_file, plan)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        self._write(self.summary_file, summary)

    def write_outdated(self, reasons: Mapping[int, str]) -> None:
        """Say which trials are to be shown apart, index -> why."""
        self._write(self.outdated_file, {str(index): why for index, why in reasons.items()})

    def keep_code(self, copies: Path, name: str) -> None:
        """Keep copies of the user's files; those that are there have the same content."""
        if not self.code(name).exists():
            self._make(self.folder / "code")
            self._copy(copies, self.code(name))

    def write_done(self, done: Mapping[str, Any]) -> None:
        self._write(self.done_file, done)

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Make the folders that the tasks write to."""
        for name in ("logs", "jobs", "report", "cache"):
            self._make(self.folder / name)
        for task in tasks:
            if task.role in ("producer", "trial"):
                self._make(self.progress_file(task.role, task.index).parent)

    def prepare_trial(self, task: Task) -> bool:
        """Make a trial's folder; whether an interrupted run of it can be continued."""
        folder = self.trial(task.index)
        resume = self.holds_trial(task.index)
        if not resume and folder.exists():
            # First, so that a folder that is deleted by half is not taken for one to continue.
            self._remove(folder / "config.json")
            self._remove(folder)
        self._make(folder)
        facts = {"index": task.index, "hparams": dict(task.hparams), "proc_id": task.proc_id}
        if SNAPSHOT_VARIABLE in task.env:
            facts["code"] = Path(task.env[SNAPSHOT_VARIABLE]).name
        self._write(folder / "trial.json", facts)
        return resume

    def holds_trial(self, index: int) -> bool:
        """Whether a trial's folder holds a run of it that can be kept or continued."""
        folder = self.trial(index)
        return (folder / "config.json").exists() and self.result(index).get("status") != "failed"

    def result(self, index: int) -> Mapping[str, Any]:
        """A trial's result file, empty where there is none."""
        return read_json(self.trial(index) / "result.json") or {}

    def done(self, index: int) -> bool:
        """Whether a trial has come to its result."""
        return trial_state(self.result(index)) in DONE

    def remove_trial(self, index: int) -> None:
        """Delete the folder of a trial that never began."""
        self._remove(self.trial(index))

    def forget(self, name: str) -> None:
        """Delete what an earlier job of a task recorded, and how its process ended."""
        self._remove(self.record(name))
        self._remove(self.outcome(name))

    def clear(self, state: RunState, *folders: Path) -> None:
        """Delete what launches left here, and `folders`; nothing else.

        The state file comes first, and says that the rest is to go: a launch that is killed
        halfway would leave trials that the next one could take for its own.
        """
        self.write_state(state)
        for path in (*folders, *(self.folder / name for name in (*_FOLDERS, *_FILES, *_REPORT))):
            self._remove(path)

    def _write(self, path: Path, value: Mapping[str, Any] | RunState) -> None:
        """Replace a file, whole."""
        if isinstance(value, RunState):
            write_run_state(path, value)
        else:
            write_json(path, value)

    def _remove(self, path: Path) -> None:
        """Delete a file, or a folder with all that is in it."""
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def _make(self, path: Path) -> None:
        """Make a folder where there is none."""
        path.mkdir(parents=True, exist_ok=True)

    def _copy(self, source: Path, target: Path) -> None:
        """Copy a folder: it is there as a whole, or not at all."""
        half = target.with_name(f".{target.name}.part")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(source, half)
        half.rename(target)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock.

        Raises
        ------
        UserError
            When another launch holds it, or the folder cannot be written.
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

    def launching_process(self) -> Mapping[str, float] | None:
        """The launch that is using the folder, if one is."""
        state = self.read_state()
        return state.launch if state is not None and alive(state.launch) else None


def open_run(folder: Path | None) -> RunFolder:
    """The run of a folder; of the newest one below ``runs/`` where none is given.

    Raises
    ------
    UserError
        When nothing was launched there.
    """
    if folder is not None:
        run = RunFolder(Path(os.path.abspath(folder)))
        run.state()
        return run
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
