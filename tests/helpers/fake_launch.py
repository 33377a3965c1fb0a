"""The launch command, with fake_commands.py for the commands that it runs."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from deeptool.errors import run_command
from hpc.commands import launch
from hpc.local import backend
from hpc.processes.container import Programs
from hpc.processes.identity import identity
from hpc.processes.job import Job, run_job, signal_all

FAKE = str(Path(__file__).with_name("fake_commands.py"))


def programs(name: str) -> tuple[str, ...]:
    # Without site-packages, which nobody needs here: it starts in no time.
    return (sys.executable, "-I", "-S", FAKE, name)


class ForkedRunning:
    def __init__(self, job: Job, pid: int) -> None:
        self.job, self.controller = job, identity(pid)
        self._pid, self._ended = pid, False

    def done(self) -> bool:
        self._ended = self._ended or os.waitpid(self._pid, os.WNOHANG)[0] != 0
        return self._ended

    def stop(self) -> None:
        signal_all([self.controller], signal.SIGTERM)

    def kill(self) -> None:
        signal_all([self.controller], signal.SIGKILL)


class ForkingExecutor:
    """Jobs without submitit, whose processes take their time to start: most tests are not on it."""

    def __init__(self, folder: Path, programs: Programs, container: None, forks: Path) -> None:
        self._programs = programs

    def submit(self, job: Job) -> ForkedRunning:
        job.record.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            try:
                run_job(replace(job, argv=(*self._programs(job.argv[0]), *job.argv[1:])))
            finally:
                os._exit(0)
        return ForkedRunning(job, pid)


if __name__ == "__main__":
    if os.environ["FAKE_FORK"]:
        backend.LocalExecutor = ForkingExecutor
    launch.launch = partial(launch.launch, programs=programs)
    run_command(launch.command)
