"""One process of a campaign, as the job that a backend submits."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from deeptool.errors import WorkError
from hpc.processes import apptainer
from hpc.processes.caught_signals import CaughtSignals
from hpc.processes.forked_service import ForkedService, ForkServer
from hpc.processes.identity import alive, identity
from hpc.processes.record import JobRecord, write_job_record
from hpc.processes.service import Service
from hpc.processes.to_the_end import ProcessEnd, run_to_the_end

# As a shell has it for a program that is not there.
_NO_PROGRAM = 127
_WATCH_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """What is submitted.

    Attributes
    ----------
    name, argv
        The process.
    env : mapping
        What its environment has besides the submitting process's; None takes a name out.
    log : Path
        The file its output is appended to.
    record : Path
        The file in which it says how it is doing: `hpc.processes.record.JobRecord`.
    grace : float
        Seconds between SIGTERM and SIGKILL.
    launch : mapping or None
        The process whose end ends this one too (`hpc.processes.identity.identity`).
    forks : ForkServer or None
        Who is asked to fork it.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    record: Path
    grace: float
    env: Mapping[str, str | None] = field(default_factory=dict)
    launch: Mapping[str, float] | None = None
    forks: ForkServer | None = None


def run_job(job: Job) -> int:
    """Run a job's process to its end and return its exit code; what a backend calls.

    SIGTERM, or the end of the launch, is passed on to the process, once; after the grace it is
    killed. It is in a session of its own: what is left of its process group goes with it.
    """
    # What a terminal sends is the launch's; it was blocked from there on, which the process would
    # inherit. Handlers it does not.
    terminal = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    signals = CaughtSignals(signal.SIGTERM, dropped=terminal)
    signals.install()
    # If the process that started this one is killed, this one gets a SIGTERM.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    set_environment(job.env)
    record = JobRecord(job.name, start=time.time())
    launch = _Launch(job.launch)

    def asked_to_end() -> bool:
        return signals.end or launch.gone()

    service = _service(job, asked_to_end)

    def started() -> None:
        known = {"job": identity(os.getpid()), "process": identity(service.group)}
        write_job_record(job.record, replace(record, processes=known))

    try:
        end = run_to_the_end(service, asked_to_end, job.grace, started)
    except WorkError as error:
        end = ProcessEnd(_NO_PROGRAM, 0.0, ())
        record = replace(record, error=str(error))
    write_job_record(job.record, replace(record, end=time.time(), **asdict(end)))
    return end.exit_code


def _service(job: Job, asked_to_end: Callable[[], bool]) -> Service:
    if job.forks is not None:
        return ForkedService(job.name, job.argv, job.log, job.forks, asked_to_end)
    return Service(job.name, job.argv, job.log, guard=apptainer.runs(job.argv))


class _Launch:
    """The process that submitted the job, which is looked after now and then."""

    def __init__(self, launch: Mapping[str, float] | None) -> None:
        self._launch, self._gone, self._looked = launch, False, 0.0

    def gone(self) -> bool:
        now = time.monotonic()
        if self._launch is not None and now - self._looked > _WATCH_SECONDS:
            self._looked = now
            self._gone = self._gone or not alive(self._launch)
        return self._gone


def set_environment(changes: Mapping[str, str | None]) -> None:
    """Change this process's environment; None takes a name out, and submitit's names go too."""
    for name in [name for name in os.environ if name.startswith("SUBMITIT_")]:
        del os.environ[name]
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def signal_all(processes: Iterable[Mapping[str, float]], signum: int) -> None:
    """Signal those of `processes` (identities) that still run."""
    for process in filter(alive, processes):
        try:
            os.kill(int(process["pid"]), signum)
        except ProcessLookupError:
            continue
