"""End what a campaign has on Slurm: its own jobs, and nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hpc.run.run_folder import RunFolder, write_state
from hpc.slurm import scheduler
from hpc.slurm.batch import job_name
from hpc.slurm.broker_job import stop_brokers
from hpc.slurm.launch import live_jobs, wait_gone
from hpc.slurm.observe import read_done

# For brokers to stop cleanly, after they have noticed that they are to.
_BROKER_SECONDS = 60.0
_CANCEL_SECONDS = 60.0


@dataclass(frozen=True)
class Stopped:
    """What became of the jobs.

    Attributes
    ----------
    jobs : tuple of str
        Name and id of those that were in the queue.
    left : tuple of str
        Those that are still there.
    """

    jobs: tuple[str, ...]
    left: tuple[str, ...]


def slurm_down(run: RunFolder) -> Stopped:
    """Cancel the trials, then the producers, let the brokers stop, and cancel what then is left.

    Raises
    ------
    WorkError
        When Slurm does not answer.
    """
    state = run.state()
    prefix = job_name(state["id"], "")
    known = scheduler.queue()
    live = live_jobs(state["id"], known)
    names = {job: f"{known[job].name.removeprefix(prefix)} ({job})" for job in live}
    brokers = [job for job in live if known[job].name == job_name(state["id"], "broker")]
    others = [job for job in live if job not in brokers]
    # The last job first: it would write a report of what is being stopped.
    ordered = sorted(others, key=lambda job: known[job].name)
    scheduler.cancel(ordered)
    if brokers:
        stop_brokers(run, state["id"], "deeptool-hpc down")
        waiting = [job for job in brokers if known[job].state in scheduler.WAITING]
        scheduler.cancel(waiting)
    left = wait_gone(live, lambda: None, _BROKER_SECONDS)
    scheduler.cancel(left)
    left = wait_gone(left, lambda: None, _CANCEL_SECONDS)
    if live and not read_done(run, state):
        write_state(run, run.state() | {"state": "interrupted", "finished": time.time()})
    return Stopped(
        tuple(names[job] for job in live if job not in left), tuple(names[job] for job in left)
    )
