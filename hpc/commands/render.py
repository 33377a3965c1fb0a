"""``deeptool-hpc render``: everything that a launch would run, without running any of it."""

from __future__ import annotations

from pathlib import Path

import click

from hpc.backends import BACKENDS
from hpc.campaign.toml_file import load
from hpc.run.dry_run import planned


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("campaign", metavar="CAMPAIGN.toml", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="As for launch.")
@click.option("--run-dir", type=click.Path(file_okay=False, path_type=Path), help="As for launch.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="As for launch.")
@click.option("--images/--no-images", default=None, help="As for launch.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    campaign: Path,
    sets: tuple[str, ...],
    run_dir: Path | None,
    backend: str | None,
    images: bool | None,
    as_json: bool,
) -> None:
    """Print what a launch would run, in its order; needs no cluster, and changes nothing.

    For Slurm: every sbatch script, every process's command (in its image), and the properties of
    every broker.
    """
    read = load(campaign, sets=sets, run_dir=run_dir, backend=backend, images=images)
    click.echo(planned(read, as_json=as_json))
