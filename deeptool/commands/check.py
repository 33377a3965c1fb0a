"""``deeptool check``: read a stored dataset, whole, and hold it against its digests."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from deeptool.catalog.fold import Catalog, TopicState
from deeptool.catalog.log import CatalogLog
from deeptool.client.connection import Connection, connect
from deeptool.client.topic_names import SPLITS
from deeptool.commands.options import (
    DEFAULT_SERVERS,
    client_properties_option,
    json_option,
    proc_id_option,
    server_option,
)
from deeptool.errors import UserError, WorkError
from deeptool.progress import shown
from deeptool.store.check import Checked, check_upload

_SHOWN_DAMAGES = 20


@click.command("check")
@click.argument("session")
@server_option
@proc_id_option
@click.option("--split", type=click.Choice(SPLITS), help="Only that one.")
@client_properties_option
@json_option
def command(
    session: str,
    servers: tuple[str, ...],
    proc_id: int | None,
    split: str | None,
    client_properties: str | None,
    as_json: bool,
) -> None:
    """Read what SESSION stored, all of it, and hold it against the digests kept at the upload.

    A topic's name will do, too.
    """
    connection = connect(servers or DEFAULT_SERVERS, client_properties)
    with CatalogLog(connection) as log:
        catalog = log.read()
    complete = {t: s.current.begun for t, s in catalog.items() if s.current is not None}
    topics = [
        topic
        for topic, begun in sorted(complete.items())
        if session in (begun.session, topic)
        and proc_id in (None, begun.proc_id)
        and split in (None, begun.split)
    ]
    if not topics:
        raise UserError(
            "nothing complete is stored under that name",
            seen=session,
            valid=", ".join(sorted({begun.session for begun in complete.values()})) or None,
            next_step="deeptool inspect lists what is stored",
        )
    check_topics(connection, topics, as_json, catalog)


def check_topics(
    connection: Connection, topics: Sequence[str], as_json: bool, catalog: Catalog | None = None
) -> None:
    """Check the complete datasets of some topics, and print what was found.

    Raises
    ------
    UserError
        A topic holds no complete dataset.
    WorkError
        Something is damaged.
    """
    if catalog is None:
        with CatalogLog(connection) as log:
            catalog = log.read()
    for topic in topics:
        if catalog.get(topic, TopicState()).current is None:
            raise UserError(
                f"topic {topic} holds no complete dataset",
                next_step="deeptool inspect lists what is stored",
            )
    found: list[Checked] = []
    for topic in topics:
        upload = catalog[topic].current
        if upload is not None:
            with shown(f"check {topic}") as listener:
                found.append(check_upload(connection, upload, listener))
    if as_json:
        click.echo(json.dumps([checked.to_json() for checked in found], indent=1))
    else:
        for checked in found:
            click.echo(_described(checked))
    damaged = [checked for checked in found if checked.damages]
    if damaged:
        raise WorkError(
            "stored samples are damaged",
            seen=", ".join(
                f"{checked.topic}: {len(checked.damages)} places" for checked in damaged
            ),
            next_step="upload them again: deeptool produce --replace",
        )


def _described(checked: Checked) -> str:
    facts = (
        f"{checked.samples:,} samples, records: {checked.records:,}, "
        f"{checked.bytes / 1e6:,.1f} MB, {checked.seconds:.1f} s"
    )
    if not checked.damages:
        return f"{checked.topic}: as uploaded ({facts})"
    lines = [f"{checked.topic}: DAMAGED ({facts} are right)"]
    lines += [f"  {damage}" for damage in checked.damages[:_SHOWN_DAMAGES]]
    more = len(checked.damages) - _SHOWN_DAMAGES
    return "\n".join(lines + ([f"  and {more} more"] if more > 0 else []))
