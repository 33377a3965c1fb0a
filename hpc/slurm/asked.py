"""What Slurm asks of a job by signals, as flags: nothing is interrupted halfway."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType


class Asked:
    """Notes the signals that end a Slurm job from its construction on, in the main thread.

    Attributes
    ----------
    end : bool
        It is to end: whatever the signal.
    warned : bool
        It was warned ahead (USR2): of a preemption, or of the end of its walltime.
    """

    def __init__(self) -> None:
        self.end = self.warned = False
        # submitit's own handlers would requeue without regard to the processes that run.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.end = True
        self.warned = self.warned or signum == signal.SIGUSR2


def job_id() -> str:
    """The id of the Slurm job that this process runs in; ``123_4`` for an array task."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def restarts() -> int:
    """How often Slurm has started the job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def node() -> str:
    """Slurm's name of the node."""
    return os.environ.get("SLURMD_NODENAME", "")


def walltime_ends(started: float, minutes: int) -> float:
    """When the job's walltime ends (Unix time), by Slurm if it says so, else by what was asked."""
    return float(os.environ.get("SLURM_JOB_END_TIME") or started + 60 * minutes)


def seconds_left(started: float, minutes: int) -> float:
    """Seconds of walltime that are left."""
    return walltime_ends(started, minutes) - time.time()
