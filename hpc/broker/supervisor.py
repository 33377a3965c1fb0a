"""The process that a broker runs under: in the foreground, or detached from the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from deeptool.errors import DeeptoolError, Terminated, UserError, WorkError
from deeptool.outcome import OUTCOME_VARIABLE, Outcome
from deeptool.outcome import read as read_outcome
from hpc.broker import folder, jars
from hpc.broker.broker_state import BrokerState, read_broker_state
from hpc.broker.embedded import (
    READY_SECONDS,
    STOP_SECONDS,
    BrokerOptions,
    Check,
    EmbeddedBroker,
    Progress,
)
from hpc.processes.caught_signals import USUAL, CaughtSignals

_STEP = 0.05
# Below a broker's folder: how a detached supervisor ended.
_OUTCOME = Path("logs", "supervisor.outcome.json")


def run(options: BrokerOptions, progress: Progress, ready: Check) -> None:
    """Keep a broker up in the foreground: returns when `down` asks for its end.

    Parameters
    ----------
    options : BrokerOptions
        The broker.
    progress : callable
        Called with a line for each step.
    ready : callable
        Called when the broker is ready.

    Raises
    ------
    Terminated
        After a clean stop, when a signal asked for it.
    UserError, WorkError
        As `EmbeddedBroker.start`, and `WorkError` when a server dies.
    """
    # Before signals are only noted: a download is to end at once.
    jars.prepare(options, progress)
    signals = CaughtSignals(*USUAL, folder.DOWN)
    broker = EmbeddedBroker(options)
    with signals.caught():
        try:
            broker.start(progress, signals.check)
            ready()
            broker.watch(signals.check)
        except Terminated:
            progress("stopping")
            broker.stop()
            if signals.seen[0] != folder.DOWN:
                raise
        except WorkError as error:
            broker.stop(error)
            raise
        finally:
            broker.stop()


def run_detached(options: BrokerOptions, arguments: list[str], progress: Progress) -> BrokerState:
    """Start a supervisor that outlives this process, and return its state when it is ready.

    Parameters
    ----------
    options : BrokerOptions
        The broker.
    arguments : list of str
        The command line, after ``deeptool-hpc``, that runs it in the foreground.
    progress : callable
        Called with a line for each step.

    Raises
    ------
    UserError, WorkError
        What the supervisor raised, or `WorkError` when it is not ready in time.
    """
    # Here, where progress can be seen, and where what is missing is best said.
    jars.prepare(options, progress)
    logs = options.directory / "logs"
    with folder.writing(options.directory):
        logs.mkdir(parents=True, exist_ok=True)
    path = logs / "supervisor.log"
    (options.directory / _OUTCOME).unlink(missing_ok=True)
    # Two descriptions of one file: what the child writes must not move where this process reads.
    with open(path, "ab") as output, open(path, "rb") as log:
        log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "hpc.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
            env={**os.environ, OUTCOME_VARIABLE: str(options.directory / _OUTCOME)},
        )
        try:
            return _wait(process, options.directory, progress, log)
        except BaseException:
            process.terminate()
            try:
                process.wait(3 * STOP_SECONDS)
            finally:
                process.kill()
            raise


def _wait(
    process: subprocess.Popen[bytes], directory: Path, progress: Progress, log: IO[bytes]
) -> BrokerState:
    """Relay the supervisor's lines until it is ready or has ended."""
    deadline = time.monotonic() + 3 * READY_SECONDS
    shown = True
    while True:
        ended = process.poll() is not None
        state = read_broker_state(directory)
        # After the state: a warning is there before its supervisor is ready.
        for line in log.read().decode(errors="replace").splitlines():
            # Its error is raised here, and so shown by whoever called.
            shown = shown and not line.startswith("error: ")
            if shown:
                progress(line)
        if ended:
            raise _failure(process.returncode, read_outcome(directory / _OUTCOME), log.name)
        # It is another one's where this one has come too late.
        mine = state is not None and (state.supervisor or {}).get("pid") == process.pid
        if state is not None and mine and state.state == "ready":
            return state
        if time.monotonic() > deadline:
            raise WorkError("the broker was not ready in time", next_step=f"see {log.name}")
        time.sleep(_STEP)


def _failure(code: int, outcome: Outcome | None, log: str) -> DeeptoolError:
    """What a supervisor that ended before it was ready has raised, as far as it could say."""
    error = outcome.error if outcome else None
    if error is None:
        return WorkError(
            "the broker's supervisor has ended", seen=f"exit code {code}", next_step=f"see {log}"
        )
    kind = UserError if code == UserError.exit_code else WorkError
    return kind(error.what, seen=error.seen, valid=error.valid, next_step=error.next_step)
