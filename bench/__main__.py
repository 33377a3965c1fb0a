"""``python -m bench full | quick | page``: what `make bench` and `make bench-quick` call."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import click

from bench import results, targets
from bench.page import with_results
from bench.run_plan import PLANS, RunPlan
from bench.runner import DoubtsOfRun, Run
from deeptool.errors import WorkError, run_command

PAGE = results.ROOT / "docs" / "performance.md"
_FILES = results.ROOT / "runs" / "bench"
only = click.option(
    "--only", multiple=True, metavar="PATTERN", help="Measure these rows alone; record nothing."
)


@click.group()
def main() -> None:
    """Measure deeptool beside other ways to read the same samples."""


@main.command()
@only
def full(only: tuple[str, ...]) -> None:
    """Measure everything, in both sizes; write bench-results/ and docs/performance.md."""
    found = _run(_chosen("full", only))
    if only:
        return
    results.write(found, results.result_file("full"))
    results.write(_run(PLANS["quick"]), results.result_file("quick"))
    _write_page(found)


@main.command()
@only
@click.option("--record", is_flag=True, help="Keep the ratios, to compare later runs with.")
def quick(only: tuple[str, ...], record: bool) -> None:
    """Measure a tenth, and fail where a ratio is below three quarters of the recorded one."""
    plan, recorded = _chosen("quick", only), {}
    if not (record or only):
        if results.result_file("quick").exists():
            recorded = results.read(results.result_file("quick"))["ratios"]
        else:
            click.echo("Nothing is recorded to compare with: `make bench` records it.")

    def doubts(found: targets.Results, workload: str) -> Collection[str]:
        return targets.involved(targets.lost(recorded, found), workload)

    found = _run(plan, doubts)
    if record and not only:
        results.write(found, results.result_file("quick"))
    _compare(recorded, found)


@main.command()
def page() -> None:
    """Write docs/performance.md and the plots again, from bench-results/full.json."""
    _write_page(results.read(results.result_file("full")))


def _chosen(size: str, only: tuple[str, ...]) -> RunPlan:
    plan = PLANS[size]
    if not only:
        return plan
    rows = [row for row in plan.rows if any(fnmatch.fnmatch(row.name, each) for each in only)]
    return replace(plan, rows=tuple(rows))


def _run(plan: RunPlan, doubts: DoubtsOfRun = lambda found, workload: ()) -> dict[str, Any]:
    load = os.getloadavg()[0]
    run = Run(plan, click.echo, doubts)
    run.measure(_FILES)
    found = results.document(plan.size, plan.rounds, load, run.results, run.versions)
    for name, target in found["targets"].items():
        met = "met" if target["met"] else "NOT MET" if target["got"] is not None else "not measured"
        click.echo(f"{met:13}{name}: {target['got']} ({target['bound']} {target['asked']})")
    return found


def _compare(recorded: dict[str, float], found: dict[str, Any]) -> None:
    for name, before in recorded.items():
        now = found["ratios"].get(name)
        click.echo(f"{name}: {'-' if now is None else f'{now:.2f}'}, recorded {before:.2f}")
    missed = targets.lost(recorded, found["rows"])
    if missed:
        raise WorkError(
            f"below {targets.KEPT:g} of what was recorded",
            seen="; ".join(wanted.name for wanted in missed),
            next_step="profile it; or, if it is meant to be so, record again: make bench",
        )


def _write_page(found: dict[str, Any]) -> None:
    from bench.plots import write_plots

    for path in write_plots(found, results.FOLDER):
        click.echo(f"wrote {path.relative_to(results.ROOT)}")
    PAGE.write_text(with_results(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    click.echo(f"wrote {PAGE.relative_to(results.ROOT)}")


if __name__ == "__main__":
    run_command(main)
