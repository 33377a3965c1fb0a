"""The processes that launches left on this machine: which still run, and how to end them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

from hpc.broker.folder import end_processes
from hpc.campaign.task import GRACE, STOP_ORDER
from hpc.local.broker_account import broker_state
from hpc.processes.identity import alive, wait_gone
from hpc.processes.job import signal_all
from hpc.processes.record import read_job_record
from hpc.run.backend import Stopped
from hpc.run.run_folder import RunFolder
from hpc.run.state import RunState

# A launch that is asked to end lets each of its groups take its grace, and writes its files.
_LAUNCH_SECONDS = sum(max(GRACE[role] for role in group) + 5 for group in STOP_ORDER) + 10


def running_processes(folder: RunFolder) -> dict[str, dict[str, Mapping[str, float]]]:
    """Task name -> those of its processes that still run: ``job``, ``controller``, ``process``."""
    state = folder.read_state()
    found = {}
    for name, task in state.tasks.items() if state else ():
        record = read_job_record(folder.record(name))
        known = {**record.processes} if record else {}
        if task.controller is not None:
            known["controller"] = task.controller
        if processes := {kind: each for kind, each in known.items() if alive(each)}:
            found[name] = processes
    return found


def stop_running(folder: RunFolder, state: RunState) -> dict[str, bool]:
    """End what launches have left: trials, then producers, then the broker.

    Returns
    -------
    dict
        Task name -> whether it ended when asked to; the others were killed.
    """
    ended: dict[str, bool] = {}
    for group in STOP_ORDER:
        grace = max(GRACE[role] for role in group)
        found = {
            name: processes
            for name, processes in running_processes(folder).items()
            if name in state.tasks and state.tasks[name].role in group
        }
        for processes in found.values():
            # One of them: each passes it on, and the process itself is to be asked once.
            asked = next(kind for kind in ("job", "controller", "process") if kind in processes)
            signal_all([processes[asked]], signal.SIGTERM)
        deadline = time.monotonic() + grace + 2
        for name, processes in found.items():
            ended[name] = wait_gone(processes.values(), deadline - time.monotonic())
            if not ended[name]:
                signal_all(processes.values(), signal.SIGKILL)
                wait_gone(processes.values(), 5)
    if not ended.get("broker", True) and state.broker is not None:
        # Killed, it could not end its servers.
        end_processes(broker_state(state.broker.folder))
    return ended


def stop_launch(folder: RunFolder) -> Stopped:
    """End a launch and all that it started."""
    names = list(running_processes(folder))
    launch = folder.launching_process()
    if launch is not None:
        names.append("the launch itself")
        os.kill(int(launch["pid"]), signal.SIGTERM)
        if not wait_gone([launch], _LAUNCH_SECONDS):
            os.kill(int(launch["pid"]), signal.SIGKILL)
            wait_gone([launch], 5)
    stop_running(folder, folder.state())
    remaining = {
        name: ", ".join(f"process {int(each['pid'])}" for each in found.values())
        for name, found in running_processes(folder).items()
    }
    return Stopped(
        tuple(name for name in names if name not in remaining),
        tuple(f"{name} ({processes})" for name, processes in remaining.items()),
    )
