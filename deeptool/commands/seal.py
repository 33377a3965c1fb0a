"""``deeptool seal``: write a stored dataset to a folder that is read without a broker."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.filesize import decimal

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.client.connection import connect
from deeptool.commands.options import (
    DEFAULT_SERVERS,
    client_properties_option,
    json_option,
    server_option,
    splits_option,
)
from deeptool.errors import printable
from deeptool.progress import shown
from deeptool.sealed.seal import seal, uploads_to_seal
from deeptool.store.kafka_store import KafkaStore
from deeptool.store.listing import listing_rows


@click.command("seal", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option(
    "--to",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write, which must not exist yet.",
)
@splits_option
@click.option("--replace", is_flag=True, help="Replace a sealed dataset that is there.")
@server_option
@client_properties_option
@json_option
def command(
    name: str,
    folder: Path,
    split: str,
    replace: bool,
    servers: tuple[str, ...],
    client_properties: str | None,
    as_json: bool,
) -> None:
    """Write the stored dataset NAME to a folder, which is then read without a broker.

    All of it: its variants or shards, and all stored epochs. Every record is verified against the
    digests kept at its upload. Nothing is left of a seal that fails.
    """
    connection = connect(servers or DEFAULT_SERVERS, client_properties)
    with CatalogLog(connection) as log:
        uploads = uploads_to_seal(log.read(), name, None if split == "both" else split)
    folder = folder.absolute()
    with shown(f"seal {printable(name)}") as listener:
        store = KafkaStore(connection)
        manifest = seal(store, name, uploads, folder, replace=replace, listener=listener)
    if as_json:
        found = listing_rows(manifest.catalog, {}, time.time())
        rows = {"folder": str(folder), "bytes": manifest.size, "uploads": found}
        click.echo(json.dumps(rows, indent=1))
        return
    for upload in manifest.uploads:
        samples = sum(epoch.samples for epoch in upload.completed.epochs)
        click.echo(f"{upload.begun.topic}: {samples:,} samples, as uploaded")
    click.echo(f"sealed, {decimal(manifest.size)}: {folder}")
