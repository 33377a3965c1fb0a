"""``deeptool view``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from deeptool.catalog.datasets import Shard, find
from deeptool.catalog.fold import Catalog
from deeptool.catalog.log import CatalogLog
from deeptool.client.connection import Connection, connect
from deeptool.client.kafka_errors import NO_SUCH_OFFSET, PARTITION_END
from deeptool.client.topic_names import SPLITS, topic_name
from deeptool.codec import make_codec
from deeptool.codec.protocol import Codec
from deeptool.codec.records import parse_headers
from deeptool.codec.values import Leaves
from deeptool.commands.options import (
    DEFAULT_SERVERS,
    client_properties_option,
    proc_id_option,
    server_option,
)
from deeptool.errors import UserError, WorkError

_RECORDS = 4
_SECONDS = 30.0


@click.command("view")
@click.argument("session")
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
    help="How many to draw.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture; <session>.<split>.png by default.",
)
@client_properties_option
def command(
    session: str,
    servers: tuple[str, ...],
    proc_id: int | None,
    split: str,
    count: int,
    output: Path | None,
    client_properties: str | None,
) -> None:
    """Draw stored samples of SESSION as a PNG: images, series, points, or a table.

    The samples are taken from records all over the first stored epoch.
    """
    from deeptool.store.draw import draw

    connection = connect(servers or DEFAULT_SERVERS, client_properties)
    with CatalogLog(connection) as log:
        shard = _choose(log.read(), session, split, proc_id)
    begun = shard.upload.begun
    # Codec example needs TensorFlow, which has much to say.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    codec = make_codec(begun.codec, begun.element_spec)
    # Where a record is one sample, or may hold few of one shape.
    few = codec.samples_per_record == 1 or bool(codec.spec.open_paths)
    batches = fetch(connection, shard, codec, count if few else _RECORDS)
    title = f"{shard.topic}: {shard.upload.samples:,} samples"
    figure = draw(batches, codec.spec, count, title)
    path = output or Path(f"{shard.topic}.png")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError("the picture cannot be written", seen=f"{path}: {error}") from error
    click.echo(path)


def _choose(catalog: Catalog, session: str, split: str, proc_id: int | None) -> Shard:
    """The upload to draw; of a dataset in shards any one will do."""
    if proc_id is not None:
        topic = topic_name(session, proc_id, split)
        state = catalog.get(topic)
        if state is not None and state.current is not None:
            return Shard(topic, state.current)
    return find(catalog, session, split, proc_id).shards[0]


def fetch(connection: Connection, shard: Shard, codec: Codec, wanted: int) -> list[Leaves]:
    """The samples of some records, evenly spaced over the first stored epoch of an upload.

    Parameters
    ----------
    wanted : int
        How many records.

    Raises
    ------
    WorkError
        The broker does not deliver a record that the catalog says is there.
    """
    completed = shard.upload.completed
    runs = completed.epochs[0].runs if completed else {}
    places = evenly(runs, wanted)
    consumer = Consumer(
        connection.config(
            {
                "group.id": "deeptool.view",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 2,
            }
        )
    )
    try:
        return [_fetch_one(consumer, shard, codec, *place) for place in places]
    finally:
        consumer.close()


def evenly(runs: Mapping[int, Sequence[tuple[int, int]]], wanted: int) -> list[tuple[int, int]]:
    """`wanted` records (or all, where there are fewer): their partitions and offsets."""
    ordered = [(p, start, stop) for p, pieces in sorted(runs.items()) for start, stop in pieces]
    ends = np.cumsum([stop - start for _, start, stop in ordered])
    total = int(ends[-1]) if len(ends) else 0
    # From the middle of each share: an even spacing from 0 on would favour what is first.
    shares = min(wanted, total)
    places = []
    for share in range(shares):
        place = (2 * share + 1) * total // (2 * shares)
        index = int(np.searchsorted(ends, place, side="right"))
        partition, _, stop = ordered[index]
        places.append((partition, stop - int(ends[index]) + place))
    return places


def _fetch_one(
    consumer: Consumer, shard: Shard, codec: Codec, partition: int, offset: int
) -> Leaves:
    consumer.assign([TopicPartition(shard.topic, partition, offset)])
    deadline = time.monotonic() + _SECONDS
    seen = "no answer"
    while (remaining := deadline - time.monotonic()) > 0:
        message = consumer.poll(min(remaining, 1.0))
        if message is None:
            continue
        if error := message.error():
            seen = error.str()
            if error.code() in NO_SUCH_OFFSET | {PARTITION_END}:
                break
            continue
        header = parse_headers(message.headers())
        if header is not None and header.upload == shard.upload.id:
            return codec.decode(message.value(), message.key())
        seen = f"offset {message.offset()} of another upload"
    raise WorkError(
        f"a record of {shard.topic} cannot be read",
        seen=f"partition {partition}, offset {offset}: {seen}",
        next_step=f"deeptool check {shard.upload.begun.session} reads all of it",
    )
