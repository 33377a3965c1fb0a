"""End what a campaign has on Slurm: its own jobs, and nothing else."""

from __future__ import annotations

import time
from dataclasses import replace

from hpc.run.backend import Stopped
from hpc.run.run_folder import RunFolder
from hpc.run.state import RunState
from hpc.slurm import scheduler
from hpc.slurm.job_names import JobNames
from hpc.slurm.observe import read_end
from hpc.slurm.queued import job_labels, wait_until_gone
from hpc.slurm.stop_request import DOWN, stop_brokers

# For brokers to stop cleanly, after they have noticed that they are to.
_BROKER_SECONDS = 60.0
_CANCEL_SECONDS = 60.0


def stop_jobs(run: RunFolder, state: RunState) -> Stopped:
    """Cancel the trials, then the producers, let the brokers stop, and cancel what then remains.

    Raises
    ------
    WorkError
        When Slurm does not answer.
    """
    known = scheduler.queue()
    labels = job_labels(state.id, known)
    brokers = [job for job in labels if JobNames(state.id).has(known[job].name, "broker")]
    others = [job for job in labels if job not in brokers]
    # The last job first: it would write a report of what is being stopped.
    ordered = sorted(others, key=lambda job: known[job].name)
    scheduler.cancel(ordered)
    if labels:
        # A launch that watches reads it, too: nobody is to write the report of what was stopped.
        stop_brokers(run, state.id, DOWN)
        waiting = [job for job in brokers if known[job].state in scheduler.WAITING]
        scheduler.cancel(waiting)
    remaining = wait_until_gone(list(labels), lambda: None, _BROKER_SECONDS)
    scheduler.cancel(remaining)
    remaining = wait_until_gone(remaining, lambda: None, _CANCEL_SECONDS)
    if labels and not read_end(run, state):
        # Read again: a launch that was submitting has written meanwhile.
        run.write_state(replace(run.state(), state="interrupted", finished=time.time()))
    return Stopped(
        tuple(label for job, label in labels.items() if job not in remaining),
        tuple(labels[job] for job in remaining),
    )
