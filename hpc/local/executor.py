"""Jobs on this machine, through submitit: nothing else in this room knows it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import submitit

from deeptool.errors import WorkError
from hpc.processes.container import Container, Programs, shell_command
from hpc.processes.forked_service import ForkServer
from hpc.processes.identity import identity
from hpc.processes.job import Job, run_job, signal_all
from hpc.processes.record import read_job_record

# What a terminal sends to all of the foreground: the launch alone decides what ends, and when.
_TERMINAL = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
_MINUTES = 366 * 24 * 60


class Running(Protocol):
    """A job that was submitted."""

    job: Job
    # What runs it, as `hpc.processes.identity.identity` has it.
    controller: Mapping[str, float]

    def done(self) -> bool:
        """Whether it has ended; its record then says how."""

    def stop(self) -> None:
        """Ask it to end; asking again does no harm."""

    def kill(self) -> None:
        """End it at once."""


class Executor(Protocol):
    """Where jobs run."""

    def submit(self, job: Job) -> Running:
        """Start a job."""


class LocalExecutor:
    """Runs jobs on this machine, each at once: how many at a time is the caller's to say.

    Parameters
    ----------
    folder : Path
        For submitit's own files; emptied.
    programs : callable
        What stands for the first word of a job's argv.
    container : Container, optional
        What ``deeptool`` runs in.
    forks : Path, optional
        The socket of the server that forks trials: `hpc.local.fork_server.fork_server`.
    """

    def __init__(
        self,
        folder: Path,
        programs: Programs,
        container: Container | None = None,
        forks: Path | None = None,
    ) -> None:
        self._programs, self._container, self._forks = programs, container, forks
        shutil.rmtree(folder, ignore_errors=True)
        self._executor = submitit.LocalExecutor(folder)
        # Its default is two minutes.
        self._executor.update_parameters(timeout_min=_MINUTES, stderr_to_stdout=True)

    def submit(self, job: Job) -> Running:
        """Start a job; it takes about half a second to begin."""
        job.record.unlink(missing_ok=True)
        env: dict[str, str | None] = {
            # submitit hides all GPUs from a local job that asks for none.
            "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),
            # A log is there to be followed.
            "PYTHONUNBUFFERED": "1",
        }
        # The broker's command is not: it runs images itself.
        container = self._container if job.argv[0] == "deeptool" else None
        forks = None
        if self._forks is not None and container is None and job.argv[:2] == ("deeptool", "train"):
            forks = ForkServer(self._forks, job.argv[1:])
        argv, env = shell_command(job.argv, {**env, **job.env}, self._programs, container, nv=True)
        job = replace(job, argv=argv, env=env, forks=forks)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL)
        try:
            return LocalRunning(job, self._executor.submit(run_job, job))
        except OSError as error:
            raise WorkError(f"{job.name} could not be submitted", seen=str(error)) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class LocalRunning:
    """A job under submitit's controller process."""

    def __init__(self, job: Job, submitted: submitit.Job[int]) -> None:
        self.job, self._submitted = job, submitted
        self.controller: Mapping[str, float] = identity(int(submitted.job_id))

    def done(self) -> bool:
        return bool(self._submitted.done())

    def stop(self) -> None:
        # Not submitit's cancel, which leaves a second to end in.
        if not self.done():
            signal_all([self.controller], signal.SIGTERM)

    def kill(self) -> None:
        record = read_job_record(self.job.record)
        known = record.processes.values() if record else ()
        signal_all([self.controller, *known], signal.SIGKILL)
