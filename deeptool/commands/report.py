"""``deeptool report``."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import click

from deeptool.commands.options import json_option


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path), metavar="RUN_DIR")
@json_option
@click.option(
    "--open",
    "show",
    type=click.BOOL,
    default=False,
    metavar="yes|no",
    help="Show the page in a browser.  [default: no]",
)
def command(run_dir: Path, as_json: bool, show: bool) -> None:
    """Write the report of a run: RUN_DIR/report.html, report.csv and report.json.

    RUN_DIR is the run folder of `deeptool-hpc launch`, or any folder of session folders.
    """
    from deeptool.report import summarize, write_report

    summary = summarize(run_dir)
    page = write_report(summary, run_dir)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        click.echo(page)
    if show:
        webbrowser.open(page.resolve().as_uri())
