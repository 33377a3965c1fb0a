"""A broker's folder: who works on it, what state it is in, and how to end it from outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import psutil

from deeptool.errors import UserError
from deeptool.files import lock as lock_file
from hpc.broker import disk_reserve
from hpc.broker.broker_state import (
    STATE_FILE,
    BrokerState,
    read_broker_state,
    write_broker_state,
)
from hpc.processes.identity import alive, wait_gone

# What `down` asks a supervisor with. No terminal and no batch system sends it, so that the exit
# code can say that it was meant.
DOWN = signal.SIGUSR1
_STEP = 0.05


def lock(directory: Path) -> IO[str]:
    """The folder's lock, held until the file is closed or the process ends.

    Raises
    ------
    UserError
        When another process holds it: a broker is up there.
    """
    try:
        return lock_file(directory / ".lock", wait=False)
    except BlockingIOError as error:
        state = read_broker_state(directory) or BrokerState()
        raise UserError(
            f"a broker is up on {directory} already",
            seen=f"{state.state}, at {state.bootstrap or 'no address yet'}",
            next_step=f"use it, or stop it with: {down_command(directory)}",
        ) from error


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn what goes wrong with files in `directory` into a `UserError`."""
    try:
        yield
    except OSError as error:
        if disk_reserve.is_full_disk(error):
            raise UserError(
                f"the disk of the broker's folder {directory} is full",
                seen=str(error),
                valid=disk_reserve.ROOM,
                next_step=disk_reserve.make_room(directory),
            ) from error
        raise UserError(
            f"the broker's folder {directory} cannot be written",
            seen=str(error),
            next_step="free space or permissions there, or choose another folder: --dir D",
        ) from error


def down_command(directory: Path) -> str:
    """The command that ends the broker of a folder."""
    return f"deeptool-hpc broker down --dir {directory}"


def end_processes(state: BrokerState, timeout: float = 10.0) -> None:
    """Leave no server of an earlier start: they were signalled when their supervisor died.

    Those that run on for `timeout` seconds are killed.
    """
    servers = state.processes.values()
    if not wait_gone(servers, timeout):
        for server in filter(alive, servers):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(server["pid"]))
                for child in process.children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
                process.kill()
        wait_gone(servers, timeout)


def current_state(directory: Path) -> BrokerState:
    """What the state file says; ``failed`` where its supervisor died without a word.

    Raises
    ------
    UserError
        When this is no broker's folder.
    """
    state = read_broker_state(directory)
    if state is None:
        raise UserError(
            "no broker was ever started there",
            seen=str(directory),
            valid=f"a folder with {STATE_FILE}",
            next_step=f"deeptool-hpc broker up --dir {directory}",
        )
    if state.state in ("starting", "ready") and not alive(state.supervisor):
        error = "its supervisor was killed"
        full = disk_reserve.died_of_full_disk(directory, "")
        if full:
            what = "its supervisor ended without a word"
            error = str(disk_reserve.disk_full(directory, what, secured=state.secured))
        return replace(state, state="failed", error=error, disk_full=full)
    return state


def down(directory: Path, timeout: float) -> BrokerState:
    """End the broker of a folder, leave no process, and return its last state.

    Parameters
    ----------
    directory : Path
        The folder.
    timeout : float
        Seconds to wait for a clean end; then everything is killed.
    """
    supervisor = current_state(directory).supervisor
    if supervisor is not None and alive(supervisor):
        os.kill(int(supervisor["pid"]), DOWN)
        if not wait_gone([supervisor], timeout):
            os.kill(int(supervisor["pid"]), signal.SIGKILL)
            wait_gone([supervisor], timeout)
    # Read again: the supervisor has written what its servers cost.
    state = current_state(directory)
    end_processes(state, timeout)
    if state.state in ("starting", "ready", "failed") and state.processes:
        state = replace(state, state="stopped", processes={})
        with writing(directory):
            disk_reserve.write_into_reserve(directory, lambda: write_broker_state(directory, state))
    return state


def disk_usage(folder: Path) -> int:
    """Bytes that the files below `folder` take on disk (Kafka's indexes are mostly holes)."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                # A server that runs there has removed it meanwhile.
                continue
    return total
