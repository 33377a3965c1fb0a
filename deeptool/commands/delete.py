"""``deeptool delete``: delete a stored dataset and free its space."""

from __future__ import annotations

import sys

import click
from rich.filesize import decimal

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.datasets import session_names
from deeptool.catalog.fold import TopicState
from deeptool.client.connection import connect
from deeptool.client.topic_names import SPLITS
from deeptool.commands import options
from deeptool.errors import UserError, did_you_mean, printable
from deeptool.store.deletion import await_silence, check_undamaged, delete_stored, topics_to_delete


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@options.server_option
@options.client_properties_option
@options.proc_id_option
@options.splits_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--damaged",
    is_flag=True,
    help="Also where the catalog is damaged: what such a topic holds may be a dataset.",
)
@click.argument("name")
def command(
    servers: tuple[str, ...],
    client_properties: str | None,
    proc_id: int | None,
    split: str,
    yes: bool,
    damaged: bool,
    name: str,
) -> None:
    """Delete the stored dataset NAME, or the one topic of that name.

    The empty topics stay, so that a trial that is still reading gets an error and never other data.
    """
    connection = connect(servers or options.DEFAULT_SERVERS, client_properties)
    with CatalogLog(connection) as log:
        splits = SPLITS if split == "both" else (split,)
        catalog = log.read()
        found = topics_to_delete(catalog, name, proc_id, splits)
        if not found:
            raise UserError(
                f"nothing is stored under {name}{did_you_mean(name, session_names(catalog))}",
                next_step="deeptool inspect lists what is stored",
            )
        if not damaged:
            check_undamaged(found)
        for topic, state in found.items():
            click.echo(_line(topic, state))
        if not yes and not _confirmed():
            click.echo("nothing was deleted")
            return
        await_silence(log, found.values(), lambda line: click.echo(line, err=True))
        for topic, state in found.items():
            freed = delete_stored(log, topic, state)
            click.echo(f"deleted {topic}: freed {decimal(freed)}" if freed else f"emptied {topic}")


def _line(topic: str, state: TopicState) -> str:
    line = f"{topic}: records that no dataset uses, if there are any"
    if state.current is not None:
        line = f"{topic}: {state.current.samples:,} samples, {decimal(state.current.bytes)}"
    if state.pending is not None:
        owner = printable(state.pending.begun.owner)
        line += f"; an upload by {owner}, unless it is still running"
    if state.damaged:
        line += "; what may be another dataset, where the catalog is damaged"
    return line


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UserError(
            "cannot ask for confirmation: stdin is not a terminal",
            next_step="give --yes to delete",
        )
    return click.confirm("Delete?", default=False)
