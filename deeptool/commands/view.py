"""``deeptool view``."""

from __future__ import annotations

from pathlib import Path

import click

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.client.connection import connect
from deeptool.client.topic_names import SPLITS
from deeptool.codec import make_codec
from deeptool.commands.options import (
    DEFAULT_SERVERS,
    client_properties_option,
    is_folder,
    proc_id_option,
    server_option,
)
from deeptool.errors import UserError
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.store.sample_rows import find_shard, read_samples, records_to_draw


@click.command("view")
@click.argument("name")
@server_option
@proc_id_option
@click.option(
    "--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Which split."
)
@click.option(
    "-n",
    "--samples",
    "count",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    help="How many to plot.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The PNG file.  [default: <topic>.png]",
)
@client_properties_option
def command(
    name: str,
    servers: tuple[str, ...],
    proc_id: int | None,
    split: str,
    count: int,
    output: Path | None,
    client_properties: str | None,
) -> None:
    """Plot a few stored samples of the dataset NAME: images, series, points, or a table.

    NAME may be the folder of a sealed dataset. The samples come from records all over the first
    stored epoch.
    """
    # Here, because Matplotlib takes half a second to import.
    from deeptool.store.draw import draw

    folder = SealedFolder(name) if is_folder(name, servers) else None
    if folder is not None:
        shard = find_shard(folder.catalog, folder.manifest.name, split, proc_id)
    else:
        connection = connect(servers or DEFAULT_SERVERS, client_properties)
        with CatalogLog(connection) as log:
            shard = find_shard(log.read(), name, split, proc_id)
    begun = shard.upload.begun
    codec = make_codec(begun.codec, begun.element_spec)
    if folder is not None:
        batches = folder.samples(shard.topic, records_to_draw(codec, count))
    else:
        batches = read_samples(connection, shard, codec, count)
    title = f"{shard.topic}: {shard.upload.samples:,} samples"
    figure = draw(batches, codec.spec, count, title)
    path = output or Path(f"{shard.topic}.png")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError("the picture cannot be written", seen=f"{path}: {error}") from error
    click.echo(path)
