"""``deeptool-hpc launch``: run a campaign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from deeptool.errors import WorkError
from hpc.backends import BACKENDS
from hpc.campaign.backend_traits import backend_traits
from hpc.campaign.definition import Campaign
from hpc.campaign.toml_file import load
from hpc.run.best_trial import best_trial_lines
from hpc.run.dry_run import dry_run
from hpc.run.launch import LaunchResult, launch
from hpc.run.preparation import LaunchOptions
from hpc.run.savings_lines import savings_lines
from hpc.run.screen import Screen, clock, trial_tables
from hpc.run.snapshot import TaskRow


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("campaign", metavar="CAMPAIGN.toml", type=click.Path(path_type=Path))
@click.option(
    "--grid",
    "grids",
    multiple=True,
    metavar="HPARAM=V,V",
    help="Trials are a grid with these values; may be given again.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another value for a key of the campaign: --set broker.memory=1g.",
)
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run folder.  [default: runs/<name>]",
)
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    help="Where it runs.  [default: as the campaign says, else local]",
)
@click.option(
    "--images/--no-images",
    default=None,
    help="Run in the images of make build-sif.  [default: on clusters only]",
)
@click.option("--detach", is_flag=True, help="On a cluster: return when all jobs are submitted.")
@click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="Trials at a time.")
@click.option(
    "--dry-run",
    "dry",
    is_flag=True,
    help="Print what would run, what is kept and what is outdated; run and write nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--fresh",
    is_flag=True,
    help="Delete what earlier launches left in the run folder, its stored data included.",
)
@click.option(
    "--replace",
    "replace_others",
    is_flag=True,
    help="Upload again what is stored under these names with other samples, whoever uploaded it.",
)
def command(
    campaign: Path,
    grids: tuple[str, ...],
    sets: tuple[str, ...],
    run_dir: Path | None,
    max_parallel: int | None,
    backend: str | None,
    images: bool | None,
    detach: bool,
    dry: bool,
    as_json: bool,
    fresh: bool,
    replace_others: bool,
) -> None:
    """Run a campaign: broker, producers, trials, report; then stop everything.

    On this machine Ctrl-C stops all that it started. On a cluster the jobs continue without it:
    Ctrl-C stops only the watching, and `deeptool-hpc down` the jobs.

    Run the same command again to resume after an interruption: what is stored is not uploaded
    again, trials that are complete are not run again, interrupted ones continue. After an edit of
    the settings, the model or a module of yours, what it does not concern stays too.
    """
    read = load(
        campaign,
        sets=sets,
        grids=grids,
        run_dir=run_dir,
        max_parallel=max_parallel,
        backend=backend,
        images=images,
    )
    if detach and not backend_traits(read.backend).detaches:
        able = [name for name in BACKENDS if backend_traits(name).detaches]
        raise click.UsageError(f"--detach goes with --backend {' or '.join(able)}")
    options = LaunchOptions(fresh, replace_others, detach)
    if dry:
        click.echo(dry_run(read, options, as_json=as_json))
        return
    console = Console(stderr=as_json)
    result = launch(read, Screen(console), options)
    if as_json:
        click.echo(json.dumps(_values(result), indent=1))
    else:
        _show(read, result, console)
    if result.failed:
        first = result.failed[0]
        alike = [row for row in result.failed if row.role == first.role]
        all_of_role = [row for row in result.snapshot.of(first.role) if row.name in result.planned]
        states = {row.state for row in alike}
        ends = ", ".join(f"{row.name}{_why(row)}" for row in alike)
        logs = f"deeptool-hpc logs {result.snapshot.run_dir} {first.role} {first.index}; "
        raise WorkError(
            f"{len(alike)} of {len(all_of_role)} {first.role}s"
            f" {states.pop() if len(states) == 1 else 'did not complete'}",
            seen=ends,
            # A job that was cancelled before it began has said nothing.
            next_step=f"{logs if Path(first.log).exists() else ''}the same launch runs them again",
        )


def _why(row: TaskRow) -> str:
    """What became of a task, where it did not fail by itself."""
    if row.state == "failed":
        return ""
    return f" ({row.note})" if row.note else f" ({row.state})"


def _values(result: LaunchResult) -> dict[str, Any]:
    report = result.report or {}
    return {
        **result.snapshot.to_json(),
        "savings": report.get("savings"),
        "report": _report_file(result),
    }


def _report_file(result: LaunchResult) -> str | None:
    return None if result.report is None else f"{result.snapshot.run_dir}/report.html"


def _show(campaign: Campaign, result: LaunchResult, console: Console) -> None:
    snapshot, report = result.snapshot, result.report or {}
    trials = snapshot.of("trial")
    if trials:
        if not console.is_terminal:
            # Lines of a file or a pipe are for grep: whole.
            console.width = 1000
        ranked = [trial["index"] for trial in report.get("trials", ())]
        console.print("", *trial_tables(trials, ranked), "", sep="\n")
    for line in savings_lines(report.get("savings")):
        console.print(line, highlight=False, soft_wrap=True)
    if result.report is not None:
        console.print(f"report: {_report_file(result)}", highlight=False, soft_wrap=True)
    if snapshot.state == "running":
        console.print(f"the jobs continue: deeptool-hpc status {snapshot.run_dir}", soft_wrap=True)
        return
    running = ", ".join(result.running)
    end = f"still running: {running}" if running else "everything stopped"
    console.print(f"{end}, {clock(snapshot.seconds)} in all", highlight=False)
    for line in best_trial_lines(campaign, report):
        console.print(line, highlight=False, soft_wrap=True)
