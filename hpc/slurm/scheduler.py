"""What Slurm's own commands say and do: the queue, the accounting, limits, cancel, requeue."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from deeptool.errors import UserError, WorkError

_SECONDS = 60.0
_QUEUE = "%i|%T|%r|%N|%j"
# Slurm's default, where it does not say.
_MAX_ARRAY = 1001
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "STAGE_OUT")
LIVE = (*WAITING, "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING")


@dataclass(frozen=True)
class Queued:
    """A job or array task, as Slurm has it.

    Attributes
    ----------
    id : str
        ``123``, or ``123_4`` for an array task.
    state : str
        Slurm's word: ``PENDING``, ``RUNNING``, ``CANCELLED``, ...
    reason, nodes, name : str
    """

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    name: str = ""

    @property
    def live(self) -> bool:
        """Whether it is still to run, or runs."""
        return self.state in LIVE

    @property
    def words(self) -> str:
        """Its state for people."""
        return self.state.lower().replace("_", " ")


def check_there() -> None:
    """Raise `UserError` where Slurm's commands are missing."""
    missing = [name for name in ("sbatch", "squeue", "scancel", "scontrol") if not _which(name)]
    if missing:
        raise UserError(
            "this machine has no Slurm to submit to",
            seen=f"{', '.join(missing)} not on PATH",
            valid="a login node of the cluster",
            next_step="run it there, or on this machine: --backend local",
        )


def max_array_size() -> int:
    """``MaxArraySize``: one more than the highest index that an array task can have.

    Raises
    ------
    WorkError
        When Slurm's controller does not answer.
    """
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.M)
    return int(found[1]) if found else _MAX_ARRAY


def partitions() -> list[str]:
    """The names of the partitions, empty where Slurm does not say."""
    try:
        return sorted(set(_run(["sinfo", "--noheader", "--format=%R"]).split()))
    except WorkError:
        return []


def queue() -> dict[str, Queued]:
    """The user's jobs and array tasks by id; those that ended a few minutes ago are there too.

    Raises
    ------
    WorkError
        When Slurm's controller does not answer.
    """
    argv = ["squeue", "--noheader", "--array", "--states=all", f"--format={_QUEUE}"]
    return parse_queue(_run([*argv, f"--user={getpass.getuser()}"]))


def parse_queue(text: str) -> dict[str, Queued]:
    """`queue`, of squeue's text."""
    rows = (line.strip().split("|", 4) for line in text.splitlines() if line.count("|") >= 4)
    return {row[0]: Queued(*row) for row in rows}


def history(ids: Sequence[str]) -> dict[str, Queued]:
    """What the accounting knows of jobs; empty where there is none that answers."""
    if not ids or not _which("sacct"):
        return {}
    argv = ["sacct", "--noheader", "--parsable2", "--allocations", "--array", "--duplicates"]
    argv += ["--format=JobID,State,NodeList,JobName", f"--jobs={','.join(ids)}"]
    try:
        return parse_history(_run(argv))
    except WorkError:
        return {}


def parse_history(text: str) -> dict[str, Queued]:
    """`history`, of sacct's text; of a requeued job the last run counts."""
    found = {}
    for line in text.splitlines():
        row = line.strip().split("|")
        if len(row) >= 4 and row[0]:
            # "CANCELLED by 1001"
            found[row[0]] = Queued(row[0], row[1].split()[0], "", row[2], row[3])
    return found


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs; those that have ended do not matter."""
    # Arrays as a whole.
    chosen = sorted({each.split("_")[0] for each in ids})
    if chosen:
        _run(["scancel", "--quiet", *chosen])


def requeue(job: str) -> None:
    """Have Slurm stop a job, and start it again later.

    Raises
    ------
    WorkError
        When Slurm refuses.
    """
    _run(["scontrol", "requeue", job])


def unused_variables() -> list[str]:
    """The variables with options of sbatch, which would override those of a campaign's jobs."""
    return sorted(name for name in os.environ if name.startswith("SBATCH_"))


@contextmanager
def outside_jobs() -> Iterator[None]:
    """Submit as from a login node: within a job, sbatch would take over that job's parameters."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_")) and name != "SLURM_CONF"
    }
    for name in inherited:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(inherited)


def chunks(count: int, largest: int) -> list[range]:
    """0..count - 1 in the fewest pieces of at most `largest`."""
    return [range(start, min(start + largest, count)) for start in range(0, count, largest)]


def _which(name: str) -> str | None:
    return shutil.which(name)


def _run(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkError(f"{argv[0]} could not be run", seen=str(error)) from error
    if done.returncode:
        raise WorkError(
            f"{argv[0]} failed",
            seen=(done.stderr or done.stdout).strip() or f"exit code {done.returncode}",
            next_step="Slurm's controller may be down or busy: try again",
        )
    return done.stdout
