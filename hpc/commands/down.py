"""``deeptool-hpc down``: stop what a launch started."""

from __future__ import annotations

import os
from pathlib import Path

import click

from deeptool.errors import UserError, WorkError
from hpc.commands.run_argument import run_argument
from hpc.run.backend import backend_named
from hpc.run.run_folder import RunFolder, open_run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@run_argument
def command(run_dir: Path | None) -> None:
    """Stop the launch of RUN_DIR (the newest below runs/) and all it started; nothing else.

    Results are kept: launch the campaign again to resume.
    """
    run = open_run(run_dir)
    _check_own(run)
    state = run.state()
    stopped = backend_named(state.backend).down(run, state)
    if not (stopped.ended or stopped.remaining):
        click.echo(f"nothing of {run.folder} is running")
        return
    if stopped.ended:
        click.echo(f"stopped: {', '.join(stopped.ended)}")
    if stopped.remaining:
        raise WorkError("these could not be stopped", seen=", ".join(stopped.remaining))
    click.echo(f"results are kept in {run.folder}")


def _check_own(run: RunFolder) -> None:
    """Raise unless the campaign is this user's: another's processes are not seen from here."""
    owner = run.folder.stat().st_uid
    if owner != os.getuid():
        raise UserError(
            "this campaign is another user's",
            seen=f"{run.folder}, of user id {owner}",
            valid=f"one of your own (user id {os.getuid()})",
            next_step="ask whoever launched it to run deeptool-hpc down",
        )
