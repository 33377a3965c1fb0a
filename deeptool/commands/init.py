"""``deeptool init``: the files of an experiment that runs, to start one's own from."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

import click

from deeptool.errors import UserError

_NAMES = ("mysettings.py", "model.py", "campaign.toml")


@click.command("init", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write a settings file, a model and a campaign that run, to start your own from.

    They go to DIR, the working directory by default. No file is overwritten.
    """
    there = [name for name in _NAMES if (folder / name).exists()]
    if there:
        raise UserError(
            f"init overwrites no file, and {', '.join(there)} is there",
            seen=str(folder),
            next_step="give another folder: deeptool init DIR",
        )
    starter = files("deeptool.commands") / "starter"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _NAMES:
            text = (starter / f"{name}.txt").read_text(encoding="utf-8")
            (folder / name).write_text(text, encoding="utf-8")
            click.echo(folder / name)
    except OSError as error:
        raise UserError(
            f"the files cannot be written: {error.strerror}", seen=error.filename
        ) from error
    click.echo(f"next: deeptool-hpc launch {shlex.quote(str(folder / 'campaign.toml'))}")
