"""``deeptool unseal``: upload a sealed dataset to a broker again."""

from __future__ import annotations

import json
from pathlib import Path

import click

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.stored import digest_of
from deeptool.client.connection import connect
from deeptool.commands.options import (
    DEFAULT_SERVERS,
    client_properties_option,
    json_option,
    server_option,
)
from deeptool.producer.unseal import unseal
from deeptool.progress import shown
from deeptool.sealed.sealed_folder import SealedFolder


@click.command("unseal", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Store it under this name.  [default: as it was]")
@click.option("--replace", is_flag=True, help="Replace a complete dataset of that name.")
@server_option
@client_properties_option
@json_option
def command(
    folder: Path,
    name: str | None,
    replace: bool,
    servers: tuple[str, ...],
    client_properties: str | None,
    as_json: bool,
) -> None:
    """Upload the sealed dataset in DIR: the same records, with the same digests.

    After an interruption, run it again: what is stored already is not uploaded again.
    """
    sealed = SealedFolder(folder)
    stored = []
    with CatalogLog(connect(servers or DEFAULT_SERVERS, client_properties)) as log:
        for upload in sealed.manifest.uploads:
            with shown(f"unseal {upload.begun.topic}") as listener:
                completed = unseal(
                    *(log, sealed, upload, name or sealed.manifest.name),
                    replace_stored=replace,
                    listener=listener,
                    on_wait=lambda text: click.echo(text, err=True),
                )
            samples = sum(epoch.samples for epoch in completed.epochs)
            digest = digest_of((completed,))
            stored.append(
                {
                    "topic": completed.topic,
                    "upload": completed.upload,
                    "samples": samples,
                    "digest": digest,
                }
            )
            if not as_json:
                click.echo(f"{completed.topic}: stored {samples:,} samples, digest {digest[:16]}")
    if as_json:
        click.echo(json.dumps(stored, indent=1))
