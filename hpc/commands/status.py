"""``deeptool-hpc status``: how a campaign is doing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from hpc.commands.run_argument import run_argument
from hpc.run.run_folder import open_run
from hpc.run.screen import picture
from hpc.run.snapshot import take_snapshot
from hpc.run.state import ENDED


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@run_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Keep showing it until the launch has ended.")
def command(run_dir: Path | None, as_json: bool, watch: bool) -> None:
    """Show how the campaign of RUN_DIR is doing (the newest below runs/)."""
    run = open_run(run_dir)
    snapshot = take_snapshot(run)
    if as_json:
        click.echo(json.dumps(snapshot.to_json(), indent=1))
        return
    console = Console()
    if not watch:
        if not console.is_terminal:
            # Lines of a file or a pipe are for grep: whole.
            console.width = 1000
        console.print(picture(snapshot, whole=not console.is_terminal))
        return
    poll = run.state().poll_seconds
    with Live(picture(snapshot), console=console, auto_refresh=False) as live:
        while snapshot.state not in (*ENDED, "killed"):
            time.sleep(poll)
            snapshot = take_snapshot(run)
            live.update(picture(snapshot), refresh=True)
