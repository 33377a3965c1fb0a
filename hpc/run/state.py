"""What a launch knows of its campaign: ``state.json`` in the run folder, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc.campaign.task import Role, Task
from hpc.processes.record import EarlierStart
from hpc.processes.versioned import known, read_versioned, said, write_versioned

FORMAT = 1
# States of a launch in which nothing of it runs any more.
ENDED = ("complete", "failed", "interrupted")
# States of a task that is not to run again. A trial that has diverged has come to its result.
DONE = ("complete", "diverged")
# States of a task that ended without a result: by itself; by a signal; by who cancelled its job; by
# a job that came before it; with its node.
UNSUCCESSFUL = ("failed", "interrupted", "cancelled", "preempted", "lost")
# While what earlier launches left is being deleted: whoever finds this deletes the rest.
CLEARING = "clearing"


@dataclass(frozen=True)
class TaskState:
    """One task, as far as its launch knows.

    Attributes
    ----------
    role, index
        As the plan has them.
    state : str
        ``waiting``, ``running``, ``ready`` (a broker), ``complete``, ``diverged`` (a trial whose
        loss is no number any more), or one of `UNSUCCESSFUL`. A task whose job is ``preempted``
        is started again where the batch system does so.
    proc_id, hparams
        Of a trial: the dataset it reads, and its hparams.
    version, under
        Of a trial: what it is made from (a key of `RunState.versions`), and what else of its
        campaign decided (`hpc.campaign.versions.made_under`). Of a producer: its version.
    outdated : str
        Of a trial that would be made another way now: what has changed. It is shown apart.
    again : bool
        Whether it was complete before: its command is then the plan's other one.
    note : str
        What there is to say of it, in words.
    start, end : float or None
        Unix times.
    exit_code, cpu_seconds
        Of its process, once it has ended.
    controller : mapping or None
        What runs it on this machine (`hpc.processes.identity.identity`).
    progress, result : mapping or None
        What its progress file, and a trial's result file, said at the end.
    job, node, devices, restarts, runs
        In a batch system: see `hpc.processes.record.JobRecord`.
    """

    role: Role
    index: int
    state: str
    proc_id: int | None = None
    hparams: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    under: Mapping[str, Any] = field(default_factory=dict)
    outdated: str = ""
    again: bool = False
    note: str = ""
    start: float | None = None
    end: float | None = None
    exit_code: int | None = None
    cpu_seconds: float | None = None
    controller: Mapping[str, float] | None = None
    progress: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    job: str = ""
    node: str = ""
    devices: str | None = None
    restarts: int = 0
    runs: tuple[EarlierStart, ...] = ()


@dataclass(frozen=True)
class BrokerAccount:
    """What a campaign is charged for its broker, which counts for ever and perhaps for others too.

    Attributes
    ----------
    folder : str
        The broker's.
    spent : float
        CPU seconds up to now.
    since : float or None
        Where the broker's count was when it began to be charged; None: it is not.
    """

    folder: str
    spent: float = 0.0
    since: float | None = None


@dataclass(frozen=True)
class RunState:
    """A campaign, as its launch knows it.

    Attributes
    ----------
    name, backend : str
        The campaign's.
    id : str
        The run folder's, for ever: the owner of its uploads, and part of its jobs' names.
    launch : mapping
        The process that launched it last (`hpc.processes.identity.identity`).
    state : str
        ``running``, one of `ENDED`, `CLEARING`; in a snapshot also ``killed``.
    started, launched : float
        When the first launch began, and the last (Unix times).
    tasks : mapping
        Name -> task: those of the plan, and trials of earlier launches.
    finished : float or None
        When the last launch ended.
    error : str
        What ended it.
    server : str or None
        The broker's address, once it is known.
    broker : BrokerAccount or None
        Of an own broker on this machine.
    session : str
        The settings' session_name: part of the names of its datasets.
    versions : mapping
        What trials were made from, version -> what ``deeptool plan`` says that it is.
    uploads : tuple of mapping
        The campaign's datasets, as ``deeptool inspect --json`` has them.
    poll_seconds : float
        How often it is worth looking at.
    jobs : mapping
        In a batch system: what was submitted, name -> ids.
    submitted : bool
        Whether all of that was submitted.
    """

    name: str
    backend: str
    id: str
    launch: Mapping[str, float]
    state: str
    started: float
    launched: float
    tasks: Mapping[str, TaskState]
    finished: float | None = None
    error: str = ""
    server: str | None = None
    broker: BrokerAccount | None = None
    session: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    uploads: tuple[Mapping[str, Any], ...] = ()
    poll_seconds: float = 1.0
    jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    submitted: bool = False

    def with_task(self, name: str, **facts: Any) -> RunState:
        """The same state but for these facts of a task."""
        return replace(self, tasks={**self.tasks, name: replace(self.tasks[name], **facts)})

    def of(self, *roles: Role) -> dict[str, TaskState]:
        """The tasks of some roles."""
        return {name: task for name, task in self.tasks.items() if task.role in roles}


def new_task_state(
    task: Task, *, under: Mapping[str, Any] | None = None, again: bool = False
) -> TaskState:
    """A task that has not begun; of a trial, `under` is what of its campaign decides."""
    return TaskState(
        role=task.role,
        index=task.index,
        state="waiting",
        proc_id=task.proc_id,
        hparams=dict(task.hparams),
        version=task.version,
        under=under if under and task.role == "trial" else {},
        again=again,
    )


def read_run_state(path: Path) -> RunState | None:
    """The state in a file, None where there is none.

    Raises
    ------
    UserError
        When the file is damaged or of a newer format.
    """
    return read_versioned(path, "campaign", FORMAT, _run_state)


def _run_state(values: dict[str, Any]) -> RunState:
    account = values.get("broker")
    parts = {
        "tasks": {name: _task(task) for name, task in values["tasks"].items()},
        "broker": None if account is None else known(BrokerAccount, account),
        "uploads": tuple(values.get("uploads", ())),
        "jobs": {name: tuple(ids) for name, ids in values.get("jobs", {}).items()},
    }
    return known(RunState, {**values, **parts})


def _task(values: Mapping[str, Any]) -> TaskState:
    runs = tuple(known(EarlierStart, run) for run in values.get("runs", ()))
    return known(TaskState, {**values, "runs": runs})


def write_run_state(path: Path, state: RunState) -> None:
    """Replace the state in a file."""
    write_versioned(path, "campaign", FORMAT, said(state))
