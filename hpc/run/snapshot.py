"""How a campaign is doing: what its run folder says at one moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deeptool.files import read_json
from hpc.backends import load_backend
from hpc.run.run_folder import RunFolder
from hpc.run.state import RunState, TaskState


@dataclass(frozen=True)
class TaskRow:
    """One task.

    Attributes
    ----------
    state : str
        As `hpc.run.state.TaskState` has it; ``outdated`` for a trial that would be made another
        way now: its note says what has changed.
    seconds : float or None
        That it has run, or took: where a batch system started it again, all of that.
    progress : mapping
        Of its progress file, while it runs and after.
    result : mapping
        Of a trial that is complete: its result file, without lists and texts.
    job, node, device : str
        In a batch system: its job's id, where that ran, and which GPUs it had there.
    """

    name: str
    role: str
    index: int
    state: str
    seconds: float | None
    log: str
    note: str
    hparams: Mapping[str, Any]
    progress: Mapping[str, Any]
    result: Mapping[str, Any]
    job: str = ""
    node: str = ""
    device: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A campaign at one moment.

    Attributes
    ----------
    state : str
        ``running``, ``complete``, ``failed``, ``interrupted``, or ``killed``: its launch has ended
        and had no time to say so.
    """

    name: str
    run_dir: str
    state: str
    server: str
    seconds: float
    rows: tuple[TaskRow, ...]

    def of(self, role: str) -> tuple[TaskRow, ...]:
        return tuple(row for row in self.rows if row.role == role)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def take_snapshot(run: RunFolder, state: RunState | None = None, *, ask: bool = True) -> Snapshot:
    """A snapshot of a run.

    Parameters
    ----------
    run : RunFolder
        The run.
    state : RunState, optional
        What the state file is about to say, where the launch itself takes the snapshot. Else the
        file is read, and the backend says how things are now.
    ask : bool
        Whether the backend may ask its batch system.
    """
    if state is None:
        written = run.state()
        observed: RunState = load_backend(written.backend).observe(run, written, ask=ask)
        state = observed
    end = state.finished or time.time()
    return Snapshot(
        name=state.name,
        run_dir=str(run.folder),
        state=state.state,
        server=state.server or "",
        seconds=end - state.launched,
        rows=tuple(_row(run, name, task, end) for name, task in state.tasks.items()),
    )


def _row(run: RunFolder, name: str, task: TaskState, now: float) -> TaskRow:
    progress = None
    if task.start is not None and task.role in ("producer", "trial"):
        progress = task.progress or read_json(run.progress_file(task.role, task.index))
    return TaskRow(
        name=name,
        role=task.role,
        index=task.index,
        state="outdated" if task.outdated else task.state,
        seconds=_seconds(task, now),
        log=str(run.log(name)),
        note=task.outdated or task.note,
        hparams=task.hparams,
        progress=progress or {},
        result=task.result or {},
        job=task.job,
        node=task.node,
        device=task.devices or "",
    )


def _seconds(task: TaskState, now: float) -> float | None:
    """How long a task has run, at all its starts; None: it has not yet."""
    runs = [run.end - run.start for run in task.runs]
    if task.start is not None:
        runs.append((task.end or now) - task.start)
    return sum(runs) if runs else None


def metrics(row: TaskRow) -> dict[str, float]:
    """The best validation metrics of a trial that is complete, the latest of one that runs."""
    values = row.result.get("best") or row.progress.get("metrics") or {}
    chosen = {key: value for key, value in values.items() if key.startswith("val_")}
    return chosen or dict(values)


def varying(rows: tuple[TaskRow, ...]) -> list[str]:
    """The hparams that differ between trials; all of a single one's."""
    names = list(dict.fromkeys(name for row in rows for name in row.hparams))
    if len(rows) < 2:
        return names
    return [name for name in names if len({repr(row.hparams.get(name)) for row in rows}) > 1]
