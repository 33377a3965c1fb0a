"""``deeptool cache``: the local copies of datasets on this node."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from deeptool.columns.cache_folder import VARIABLES, cache_path, open_cache_folder
from deeptool.columns.cache_room import StoredCopy, clear, list_copies
from deeptool.commands.options import json_option
from deeptool.errors import printable

_PLACES = ", ".join(f"${name}" for name in VARIABLES)


@click.group(
    "cache",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="List or remove this user's local copies of datasets on this node.\n\n"
    f"They are in a folder of {_PLACES} or /tmp: the first of these that is set.",
)
def command() -> None:
    """See `help` above."""


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the copies: what they are of, their size, and who uses them."""
    folder = _folder()
    copies = list_copies(folder) if folder is not None else []
    if as_json:
        click.echo(json.dumps([_as_json(copy) for copy in copies], indent=1))
    elif copies:
        console = Console()
        if not console.is_terminal:
            # For grep, each row of a file or a pipe stays on one line.
            console.width = 1000
        console.print(_table(copies))
    else:
        click.echo(f"no local copies in {cache_path(os.environ)}")


@command.command("clear")
@json_option
def clear_command(as_json: bool) -> None:
    """Remove all copies that nobody uses."""
    folder = _folder()
    removed = clear(folder) if folder is not None else []
    if as_json:
        click.echo(json.dumps([_as_json(copy) for copy in removed], indent=1))
        return
    freed = sum(copy.size for copy in removed)
    copies = "copy" if len(removed) == 1 else "copies"
    click.echo(f"removed {len(removed)} local {copies}: freed {decimal(freed)}")
    kept = len(list_copies(folder)) if folder is not None else 0
    if kept:
        click.echo(f"in use, and kept: {kept}")


def _folder() -> Path | None:
    """None where there is none yet."""
    return open_cache_folder() if cache_path(os.environ).exists() else None


def _table(copies: Sequence[StoredCopy]) -> Table:
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    drawn.add_column("dataset", overflow="fold")
    for name in ("samples", "size"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for name in ("state", "last opened"):
        drawn.add_column(name, no_wrap=True)
    for copy in copies:
        state = "complete" if copy.whole else "being filled" if copy.in_use else "incomplete"
        cells = (
            copy.key,
            f"{copy.samples:,}",
            decimal(copy.size),
            f"{state}, in use" if copy.in_use and copy.whole else state,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(copy.used)),
        )
        drawn.add_row(*(Text(printable(cell)) for cell in cells))
    return drawn


def _as_json(copy: StoredCopy) -> dict[str, object]:
    return {
        "dataset": copy.key,
        "samples": copy.samples,
        "bytes": copy.size,
        "complete": copy.whole,
        "in_use": copy.in_use,
        "last_opened": copy.used,
        "path": str(copy.path),
    }
