"""Which jobs of a run are in Slurm's queue, and waiting for them to leave it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from hpc.slurm import scheduler
from hpc.slurm.job_names import JobNames

_STEP = 1.0


def live_jobs(run_id: str, jobs: Mapping[str, scheduler.Queued] | None = None) -> list[str]:
    """The ids of the jobs of a run that are still to run, or run.

    Parameters
    ----------
    run_id : str
        The run's.
    jobs : mapping, optional
        What the queue holds, where it was asked already.
    """
    known = scheduler.queue() if jobs is None else jobs
    names = JobNames(run_id)
    return [job for job, seen in known.items() if seen.live and names.has(seen.name)]


def working_jobs(run_id: str, jobs: Mapping[str, scheduler.Queued] | None = None) -> list[str]:
    """`live_jobs` but for the brokers: who might still need one, or let it go."""
    known = scheduler.queue() if jobs is None else jobs
    names = JobNames(run_id)
    return [job for job in live_jobs(run_id, known) if not names.has(known[job].name, "broker")]


def job_labels(run_id: str, known: Mapping[str, scheduler.Queued]) -> dict[str, str]:
    """Id -> name and id, for people, of the jobs of a run that are still to run, or run."""
    names = JobNames(run_id)
    return {job: f"{names.label(known[job].name)} ({job})" for job in live_jobs(run_id, known)}


def wait_until_gone(
    jobs: Sequence[str], check: Callable[[], None], seconds: float = 120.0
) -> list[str]:
    """Wait for jobs to leave the queue; returns those that have not by then."""
    deadline = time.monotonic() + seconds
    remaining = list(jobs)
    while remaining:
        known = scheduler.queue()
        remaining = [job for job in remaining if job in known and known[job].live]
        if time.monotonic() > deadline:
            break
        check()
        if remaining:
            time.sleep(_STEP)
    return remaining
