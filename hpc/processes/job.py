"""One process of a campaign, as the job that a backend submits."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from deeptool.errors import WorkError
from deeptool.files import read_json, write_json
from hpc.processes import apptainer
from hpc.processes.identity import alive, identity
from hpc.processes.service import Service

_STEP = 0.05
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
        The JSON file in which it says how it is doing: ``processes`` (the identities of what runs
        it and of itself), ``start``, ``end``, ``exit_code``, ``cpu_seconds``, ``tail``.
    grace : float
        Seconds between SIGTERM and SIGKILL.
    launch : mapping or None
        The process whose end ends this one too (`hpc.processes.identity.identity`).
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    record: Path
    grace: float
    env: Mapping[str, str | None] = field(default_factory=dict)
    launch: Mapping[str, float] | None = None


def run_job(job: Job) -> int:
    """Run a job's process to its end and return its exit code; what a backend calls.

    SIGTERM, or the end of the launch, is passed on to the process, once; after the grace it is
    killed. It is in a session of its own: what is left of its process group goes with it.
    """
    asked = _Asked(job.launch)
    # Should the backend's own parent process be killed, this one is told.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # What a terminal sends is the launch's; it was blocked from there on, which the process would
    # inherit. A handler it does not.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda signum, frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    set_environment(job.env)
    service = Service(job.name, job.argv, job.log, guard=apptainer.runs(job.argv))
    record: dict[str, Any] = {"name": job.name, "start": time.time()}
    processes = {"job": identity(os.getpid())}
    try:
        service.start()
    except WorkError as error:
        _write(job, record, processes={}, exit_code=127, tail=[str(error)])
        return 127
    _write(job, record, processes={**processes, "process": identity(service.group)})
    code = _wait(service, asked, job.grace)
    end_group(service.group)
    tail = service.output().splitlines()[-40:]
    _write(job, record, processes={}, exit_code=code, cpu_seconds=service.cpu_seconds(), tail=tail)
    return code


class _Asked:
    """Whether the job is asked to end."""

    def __init__(self, launch: Mapping[str, float] | None) -> None:
        self._launch, self._seen, self._looked = launch, False, 0.0
        signal.signal(signal.SIGTERM, self._note)

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._launch is not None and now - self._looked > _WATCH_SECONDS:
            self._looked = now
            self._seen = self._seen or not alive(self._launch)
        return self._seen

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._seen = True


def _wait(service: Service, asked: _Asked, grace: float) -> int:
    while (code := service.poll()) is None:
        if asked():
            service.stop(grace)
        time.sleep(_STEP)
    # As a shell says it.
    return code if code >= 0 else 128 - code


def end_group(group: int) -> None:
    """Kill what is left of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _write(job: Job, record: dict[str, Any], **facts: Any) -> None:
    record |= facts
    if "exit_code" in facts:
        record["end"] = time.time()
    write_json(job.record, record)


def set_environment(changes: Mapping[str, str | None]) -> None:
    """Change this process's environment; None takes a name out, and submitit's names go too."""
    for name in [name for name in os.environ if name.startswith("SUBMITIT_")]:
        del os.environ[name]
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def read_record(path: Path) -> dict[str, Any]:
    """A job's record, empty before it has begun."""
    return read_json(path) or {}


def signal_all(processes: Iterable[Mapping[str, float]], signum: int) -> None:
    """Signal those of `processes` (identities) that still run."""
    for process in filter(alive, processes):
        try:
            os.kill(int(process["pid"]), signum)
        except ProcessLookupError:
            continue
