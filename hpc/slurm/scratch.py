"""The folders of brokers whose data goes with their job, on the disks of the nodes."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from deeptool.errors import UserError
from deeptool.files import lock
from hpc.slurm import job_environment

_PREFIX = "deeptool-broker-"
_OLD_SECONDS = 60.0


def folder(place: str, node: int) -> Path:
    """The folder of this job's broker number `node`.

    Parameters
    ----------
    place : str
        `hpc.campaign.definition.Broker.scratch`.
    node : int
        The broker's number.

    Raises
    ------
    UserError
        When there is no such place on this node.
    """
    path = os.path.expandvars(place)
    if "$" in path or not os.path.isdir(path):
        raise UserError(
            "there is no such scratch folder on this node",
            seen=f"broker.scratch = {place!r} on {job_environment.node_name()}",
            valid="a folder of the node's own; variables of the job's environment may be in it",
        )
    job = os.environ.get("SLURM_JOB_ID", "0")
    return Path(path, f"{_PREFIX}{os.getuid()}-{job}-{node}")


def sweep(place: Path) -> None:
    """Delete what this user's brokers that were killed have left in a node's scratch."""
    for left in place.glob(f"{_PREFIX}{os.getuid()}-*"):
        try:
            # Younger ones may not have locked it yet.
            if time.time() - left.stat().st_mtime > _OLD_SECONDS:
                with lock(left / ".lock", wait=False):
                    shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue
