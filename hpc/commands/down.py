"""``deeptool-hpc down``: stop what a launch started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from deeptool.errors import UserError, WorkError
from hpc.campaign.plan import GRACE, STOP_ORDER
from hpc.commands.status import run_argument
from hpc.processes.identity import wait_gone
from hpc.run.run_folder import RunFolder, open_run, running_processes, stop_left
from hpc.slurm.down import slurm_down

# A launch that is asked to end lets each of its groups take its grace, and writes its files.
_LAUNCH_SECONDS = sum(max(GRACE[role] for role in group) + 5 for group in STOP_ORDER) + 10


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@run_argument
def command(run_dir: Path | None) -> None:
    """Stop the launch of RUN_DIR (the newest below runs/) and all it started; nothing else.

    What it has done stays: launched again, the campaign goes on.
    """
    run = open_run(run_dir)
    _check_own(run)
    if run.state().get("backend") == "slurm":
        _slurm(run)
        return
    running = running_processes(run)
    launch = run.launch()
    if launch is None and not running:
        click.echo(f"nothing of {run.folder} is running")
        return
    stopped = list(running)
    if launch is not None:
        stopped.append("the launch itself")
        os.kill(int(launch["pid"]), signal.SIGTERM)
        if not wait_gone([launch], _LAUNCH_SECONDS):
            os.kill(int(launch["pid"]), signal.SIGKILL)
            wait_gone([launch], 5)
    stop_left(run)
    remaining = running_processes(run)
    click.echo(f"stopped: {', '.join(name for name in stopped if name not in remaining)}")
    if remaining:
        pids = {
            name: [int(each["pid"]) for each in found.values()] for name, found in remaining.items()
        }
        raise WorkError("some processes did not end, even killed", seen=pids)
    click.echo(f"what was stored and trained stays in {run.folder}")


def _check_own(run: RunFolder) -> None:
    """Raise unless the campaign is this user's: another's jobs are not seen from here."""
    owner = run.folder.stat().st_uid
    if owner != os.getuid():
        raise UserError(
            "this campaign is another user's",
            seen=f"{run.folder}, of user id {owner}",
            valid=f"one of your own (user id {os.getuid()})",
            next_step="ask whoever launched it to run deeptool-hpc down",
        )


def _slurm(run: RunFolder) -> None:
    outcome = slurm_down(run)
    if not (outcome.jobs or outcome.left):
        click.echo(f"no job of {run.folder} is in the queue")
        return
    if outcome.jobs:
        click.echo(f"stopped: {', '.join(outcome.jobs)}")
    if outcome.left:
        raise WorkError("some jobs did not leave the queue", seen=", ".join(outcome.left))
    click.echo(f"what was trained stays in {run.folder}")
