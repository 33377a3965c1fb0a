"""What each job of a campaign reports: ``jobs/<task>.json`` in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc.processes.versioned import known, read_versioned, said, write_versioned

FORMAT = 1


@dataclass(frozen=True)
class EarlierStart:
    """When and where a job ran before it was started again (Unix times)."""

    start: float
    end: float
    node: str = ""


@dataclass(frozen=True)
class JobRecord:
    """One job. A job that has not begun has no record; one that was killed has no end.

    Attributes
    ----------
    name : str
        The task's.
    start, end : float or None
        Unix times.
    exit_code : int or None
        The process's, as a shell has it: 128 + n after signal n.
    cpu_seconds : float or None
        What the process has cost.
    processes : mapping
        Identities of the job itself (``job``) and of what it runs (``process``) while they run, as
        `hpc.processes.identity.identity` has them. Where they can be seen from the launch.
    error : str or None
        What the job itself failed with. An error of the process is in its outcome file.
    tail : tuple of str
        The last lines of the log: all there is to show when the process had no time for an outcome.
    job, node, devices
        In a batch system: the job's id, the node it runs on and which GPUs it has there.
    restarts : int
        How often the batch system has started it before.
    runs : tuple of EarlierStart
        Those earlier starts.
    epoch : int
        The epochs that a trial had done at this start.
    batches : int
        The batches of its next epoch that were in a checkpoint then.
    waiting : str or None
        What it waits for, while it does.
    requeued : str or None
        Why the batch system was asked to start it again: ``preempted``, or ``walltime``.
    """

    name: str = ""
    start: float | None = None
    end: float | None = None
    exit_code: int | None = None
    cpu_seconds: float | None = None
    processes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    error: str | None = None
    tail: tuple[str, ...] = ()
    job: str = ""
    node: str = ""
    devices: str | None = None
    restarts: int = 0
    runs: tuple[EarlierStart, ...] = ()
    epoch: int = 0
    batches: int = 0
    waiting: str | None = None
    requeued: str | None = None


def read_job_record(path: Path) -> JobRecord | None:
    """A job's record, None before it has begun.

    Raises
    ------
    UserError
        When the file is damaged or of a newer format.
    """
    return read_versioned(path, "job", FORMAT, _record)


def _record(values: dict[str, Any]) -> JobRecord:
    runs = tuple(known(EarlierStart, run) for run in values.get("runs", ()))
    return known(JobRecord, {**values, "runs": runs, "tail": tuple(values.get("tail", ()))})


def write_job_record(path: Path, record: JobRecord) -> None:
    """Replace a job's record."""
    write_versioned(path, "job", FORMAT, said(record))
