"""What Slurm tells a job: signals as flags, and the variables of its environment."""

from __future__ import annotations

import os
import signal
import time

from hpc.processes.caught_signals import USUAL, CaughtSignals


class JobSignals(CaughtSignals):
    """Notes the signals that end a Slurm job, from its construction on, in the main thread."""

    def __init__(self) -> None:
        super().__init__(*USUAL, signal.SIGUSR2)
        # submitit's own handlers would requeue without regard to the processes that run.
        self.install()

    @property
    def warned(self) -> bool:
        """Whether Slurm warned it ahead: of a preemption, or of the end of its walltime."""
        return signal.SIGUSR2 in self.seen


def job_id() -> str:
    """The id of the Slurm job that this process runs in; ``123_4`` for an array task."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def restarts() -> int:
    """How often Slurm has started the job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def node_name() -> str:
    """Slurm's name of the node."""
    return os.environ.get("SLURMD_NODENAME", "")


def walltime_ends(started: float, minutes: int) -> float:
    """When the job's walltime ends (Unix time), by Slurm if it says so, else by what was asked."""
    return float(os.environ.get("SLURM_JOB_END_TIME") or started + 60 * minutes)


def remaining_seconds(started: float, minutes: int) -> float:
    """Seconds of walltime that remain."""
    return walltime_ends(started, minutes) - time.time()
