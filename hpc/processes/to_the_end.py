"""One process from its start to its end: how a job of a campaign runs what it is there for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from hpc.processes.service import Service

_STEP = 0.05
# What a record keeps of a log.
_TAIL_LINES = 40


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended.

    Attributes
    ----------
    exit_code : int
        As a shell has it: 128 + n after signal n.
    cpu_seconds : float
        What it has cost, with its descendants that it waited for.
    tail : tuple of str
        The last lines of its log.
    """

    exit_code: int
    cpu_seconds: float
    tail: tuple[str, ...]


def run_to_the_end(
    service: Service,
    asked_to_end: Callable[[], bool],
    grace: float,
    started: Callable[[], None] = lambda: None,
) -> ProcessEnd:
    """Start a process and wait for it; leave nothing of its group.

    Parameters
    ----------
    service : Service
        The process, not yet started.
    asked_to_end : callable
        Called often. Once it is true the process gets SIGTERM, once, and is killed when it has not
        ended after the `grace`.
    grace : float
        Seconds.
    started : callable
        Called when the process runs.

    Raises
    ------
    WorkError
        When the process cannot be started.
    """
    service.start()
    started()
    while (code := service.poll()) is None:
        if asked_to_end():
            service.stop(grace)
        time.sleep(_STEP)
    _end_group(service.group)
    shown = code if code >= 0 else 128 - code
    return ProcessEnd(
        shown, service.cpu_seconds(), tuple(service.output().splitlines()[-_TAIL_LINES:])
    )


def _end_group(group: int) -> None:
    """Kill what the process has left behind in its group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
