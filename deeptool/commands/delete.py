"""``deeptool delete``: a stored dataset goes, its space is given back."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import click
from rich.filesize import decimal

from deeptool.catalog.claim import clean_up, watch
from deeptool.catalog.events import Deleted, Failed
from deeptool.catalog.fold import Catalog, TopicState
from deeptool.catalog.log import CatalogLog
from deeptool.client import admin
from deeptool.client.connection import Connection, connect
from deeptool.client.topic_names import SPLITS
from deeptool.commands import options
from deeptool.errors import UserError, WorkError


def matching(
    catalog: Catalog, name: str, proc_id: int | None, splits: Iterable[str]
) -> dict[str, TopicState]:
    """The topics of a session, those that are empty by now included, or the one topic `name`."""
    if name in catalog:
        return {name: catalog[name]}
    found = {}
    for topic, state in catalog.items():
        session, *rest = topic.rsplit(".", 2)
        of_session = session == name and len(rest) == 2 and rest[1] in splits
        if of_session and (proc_id is None or rest[0] == str(proc_id)):
            found[topic] = state
    return dict(sorted(found.items()))


def delete(connection: Connection, log: CatalogLog, topic: str, shown: TopicState) -> int:
    """Delete what a topic was shown to hold: its dataset, and an upload that was found dead.

    The catalog says first that the dataset is gone, so that nobody begins to read it, and a
    deletion that is interrupted is finished by the next one or by the next upload. The topic itself
    stays, empty: if it were made anew, its offsets would start at 0 again, and a trial that is
    still reading the old dataset would get another's records, where it now gets an error.

    Returns
    -------
    int
        Bytes of the record values of the dataset, before compression.

    Raises
    ------
    WorkError
        Another dataset took its place meanwhile.
    """
    if shown.pending is not None:
        reason = "it was silent, and its topic was deleted"
        log.append(Failed(topic, shown.pending.id, reason, time.time()))
    if shown.current is not None:
        log.append(Deleted(topic, shown.current.id, time.time()))
    current = log.read().get(topic, TopicState()).current
    if current is not None:
        raise WorkError(
            f"topic {topic} got another dataset meanwhile, which was not deleted",
            seen=f"upload {current.id} by {current.begun.owner}",
            next_step="deeptool inspect lists what is stored",
        )
    if admin.partitions(connection, topic):
        clean_up(connection, log, topic)
    return shown.current.bytes if shown.current else 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@options.server_option
@options.client_properties_option
@options.proc_id_option
@click.option(
    "--split",
    type=click.Choice([*SPLITS, "both"]),
    default="both",
    show_default=True,
    help="Which split.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("session")
def command(
    servers: tuple[str, ...],
    client_properties: str | None,
    proc_id: int | None,
    split: str,
    yes: bool,
    session: str,
) -> None:
    """Delete what is stored of SESSION (or in one topic of that name).

    The empty topics stay, so that a trial that is still reading gets an error and never other data.
    """
    servers = servers or options.DEFAULT_SERVERS
    connection = connect(servers, client_properties)
    with CatalogLog(connection) as log:
        catalog = log.read()
        found = matching(catalog, session, proc_id, SPLITS if split == "both" else (split,))
        if not found:
            raise UserError(
                f"nothing of {session} is stored", next_step="deeptool inspect lists what is stored"
            )
        for topic, state in found.items():
            click.echo(_line(topic, state))
        if not yes and not _confirmed():
            click.echo("nothing was deleted")
            return
        for state in found.values():
            if state.pending is not None:
                watch(log, state.pending, lambda line: click.echo(line, err=True))
        for topic, state in found.items():
            freed = delete(connection, log, topic, state)
            click.echo(f"deleted {topic}: freed {decimal(freed)}" if freed else f"emptied {topic}")


def _line(topic: str, state: TopicState) -> str:
    line = f"{topic}: what other uploads may have left behind"
    if state.current is not None:
        line = f"{topic}: {state.current.samples:,} samples, {decimal(state.current.bytes)}"
    if state.pending is not None:
        line += f"; an upload by {state.pending.begun.owner}, unless it shows a sign of life"
    return line


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("nobody is there to ask", next_step="give --yes to delete")
    return click.confirm("Delete?", default=False)
