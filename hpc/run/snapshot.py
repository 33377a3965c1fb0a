"""How a campaign is doing: what its run folder says at one moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deeptool.files import read_json
from hpc.run.run_folder import ENDED, RunFolder
from hpc.slurm.observe import ask_slurm, observe


@dataclass(frozen=True)
class TaskRow:
    """One task.

    Attributes
    ----------
    state : str
        ``waiting``, ``running``, ``ready`` (a broker), ``complete``, ``failed``, ``interrupted``.
    seconds : float or None
        Since it began, or that it took.
    progress : mapping
        Of its progress file, while it runs and after.
    result : mapping
        Of a trial that is complete: its result file, without lists and texts.
    job, node, device : str
        On Slurm: its job's id, where that ran, and which GPUs it had there.
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
        ``running``, ``complete``, ``failed``, ``interrupted``, or ``killed``: its launch is no
        more and had no time to say so.
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


def take_snapshot(
    run: RunFolder, state: Mapping[str, Any] | None = None, *, ask: bool = True
) -> Snapshot:
    """A snapshot of a run, from its state file unless `state` is what that is about to say.

    On Slurm the queue is asked too, unless not to `ask`.
    """
    if state is None:
        state = run.state()
        if state.get("backend") == "slurm":
            state = observe(run, state, ask_slurm(state) if ask else None)
        elif state["state"] not in ENDED and run.launch() is None:
            state = {**state, "state": "killed"}
    end = state.get("finished") or time.time()
    return Snapshot(
        name=state["name"],
        run_dir=str(run.folder),
        state=state["state"],
        server=state.get("server") or "",
        seconds=end - state["launched"],
        rows=tuple(_row(run, name, task, end) for name, task in state["tasks"].items()),
    )


def _row(run: RunFolder, name: str, task: Mapping[str, Any], now: float) -> TaskRow:
    begun = task.get("start")
    progress = None
    if begun is not None and task["role"] in ("producer", "trial"):
        progress = task.get("progress") or read_json(run.progress_file(task["role"], task["index"]))
    return TaskRow(
        name=name,
        role=task["role"],
        index=task["index"],
        state=task["state"],
        seconds=None if begun is None else (task.get("end") or now) - begun,
        log=str(run.log(name)),
        note=task.get("note", ""),
        hparams=task.get("hparams", {}),
        progress=progress or {},
        result=task.get("result") or {},
        job=task.get("job", ""),
        node=task.get("node", ""),
        device=task.get("devices", ""),
    )


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
