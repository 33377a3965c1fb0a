"""Build the images that jobs run in: what ``make build-sif`` calls."""

from __future__ import annotations

from pathlib import Path

import click

from hpc.images.builder import NAMES, SUMS, build
from hpc.images.parts import BOOTSTRAPS, ENVIRONMENTS, ROOT, TENSORFLOWS, ImageOptions


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[IMAGE]...", nargs=-1)
@click.option(
    "--bootstrap",
    default="docker",
    show_default=True,
    help=f"Where the base comes from: {', '.join(BOOTSTRAPS)}.",
)
@click.option("--from", "base", help="The base in the registry, or the image file (localimage).")
@click.option("--mirror", help="The address of Debian's packages (debootstrap).")
@click.option(
    "--tensorflow", default="cuda", show_default=True, help=f"{' or '.join(TENSORFLOWS)}."
)
@click.option(
    "--environment", default="latest", show_default=True, help=f"{' or '.join(ENVIRONMENTS)}."
)
@click.option("--force", is_flag=True, help="Build what has not changed, too.")
@click.option(
    "--output",
    default=ROOT / "build",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    help="The folder for the images.  [default: build/ of the checkout]",
)
def command(
    names: tuple[str, ...],
    bootstrap: str,
    base: str | None,
    mirror: str | None,
    tensorflow: str,
    environment: str,
    force: bool,
    output: Path,
) -> None:
    """Build the images kafka, zookeeper and tensorflow, or those named, where they have changed.

    It needs apptainer or singularity, and no root.
    """
    options = ImageOptions(bootstrap, base or None, mirror or None, tensorflow, environment)
    built = build(
        names or NAMES,
        options,
        folder=output,
        force=force,
        progress=lambda line: click.echo(line, err=True),
    )
    for image in built:
        click.echo(f"{image.path}  {image.size / 1e6:.0f} MB  sha256 {image.sha256}")
    click.echo(f"built {sum(image.new for image in built)} of {len(built)}; sums: {output / SUMS}")
