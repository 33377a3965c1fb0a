"""``deeptool check``: read a whole stored dataset and compare it with its digests."""

from __future__ import annotations

import click

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.client.connection import connect
from deeptool.client.topic_names import SPLITS
from deeptool.commands.check_output import check_and_print, check_folder_and_print
from deeptool.commands.options import (
    DEFAULT_SERVERS,
    client_properties_option,
    is_folder,
    json_option,
    proc_id_option,
    server_option,
)
from deeptool.errors import UserError
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.store.stored_uploads import complete_topics, complete_uploads, damaged_in_catalog


@click.command("check", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@server_option
@proc_id_option
@click.option("--split", type=click.Choice(SPLITS), help="Only this split.  [default: both]")
@client_properties_option
@json_option
def command(
    name: str,
    servers: tuple[str, ...],
    proc_id: int | None,
    split: str | None,
    client_properties: str | None,
    as_json: bool,
) -> None:
    """Verify every record of the dataset NAME against the digests kept at its upload.

    NAME is the session_name that it was uploaded under, a topic, or the folder of a sealed dataset.
    """
    if is_folder(name, servers):
        check_folder_and_print(SealedFolder(name), proc_id, split, as_json)
        return
    connection = connect(servers or DEFAULT_SERVERS, client_properties)
    with CatalogLog(connection) as log:
        catalog, bad = log.read(), log.bad_records
    lost = damaged_in_catalog(catalog, name, proc_id, split)
    try:
        topics = complete_topics(catalog, name, proc_id, split)
    except UserError:
        if not lost:
            raise
        topics = []
    uploads = complete_uploads(catalog, topics)
    check_and_print(connection, uploads, as_json, lost=lost, skipped=bad)
