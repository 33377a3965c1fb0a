"""Some samples of a stored dataset, from records all over its first stored epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deeptool.catalog.datasets import Shard, find_dataset
from deeptool.catalog.fold import Catalog
from deeptool.client.connection import Connection
from deeptool.client.consume import FETCH_BYTES, NoRecord, Patience, RecordReader
from deeptool.client.topic_names import topic_name
from deeptool.codec.protocol import Codec
from deeptool.codec.records import parse_headers
from deeptool.codec.values import Leaves
from deeptool.errors import WorkError

# As many records as a picture needs to show more than one place of a dataset.
_RECORDS = 4
_SECONDS = 30.0


def find_shard(catalog: Catalog, name: str, split: str, proc_id: int | None) -> Shard:
    """The upload to take samples of; of a dataset in shards any one will do.

    Raises
    ------
    NotStored
        Nothing complete is stored under that name.
    """
    if proc_id is not None:
        # A shard whose siblings are missing is no dataset, but has samples all the same.
        topic = topic_name(name, proc_id, split)
        state = catalog.get(topic)
        if state is not None and state.current is not None:
            return Shard(topic, state.current)
    return find_dataset(catalog, name, split, proc_id).shards[0]


def read_samples(connection: Connection, shard: Shard, codec: Codec, samples: int) -> list[Leaves]:
    """The samples of some records, evenly spaced over the first stored epoch of an upload.

    Parameters
    ----------
    connection : Connection
    shard : Shard
        Complete.
    codec : Codec
        Of the upload.
    samples : int
        About how many are wanted; what is read may hold more, or fewer where no more are stored.

    Returns
    -------
    list of Leaves
        One batch per record.

    Raises
    ------
    WorkError
        The broker does not deliver a record that the catalog lists.
    """
    completed = shard.upload.completed
    runs = completed.epochs[0].runs if completed else {}
    places = spaced_places(runs, records_to_draw(codec, samples))
    with RecordReader(connection, shard.topic, ahead_bytes=FETCH_BYTES) as reader:
        return [_read(reader, shard, codec, *place) for place in places]


def records_to_draw(codec: Codec, samples: int) -> int:
    """How many records show so many samples well."""
    # Where a record is one sample, or holds samples of one shape only, a few would show too little.
    few = codec.samples_per_record == 1 or bool(codec.spec.open_paths)
    return samples if few else _RECORDS


def spaced_places(
    runs: Mapping[int, Sequence[tuple[int, int]]], wanted: int
) -> list[tuple[int, int]]:
    """`wanted` records (or all, where there are fewer): their partitions and offsets.

    Parameters
    ----------
    runs : mapping of int to sequence of (int, int)
        Per partition, half-open ranges of offsets.
    """
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


def _read(reader: RecordReader, shard: Shard, codec: Codec, partition: int, offset: int) -> Leaves:
    found = reader.read(partition, offset, Patience(silent=_SECONDS, away=_SECONDS))
    if isinstance(found, NoRecord):
        seen = f"{found.reason}{f' ({found.error.str()})' if found.silent and found.error else ''}"
    else:
        header = parse_headers(found.headers())
        if header is not None and header.upload == shard.upload.id:
            return codec.decode(found.value() or b"", found.key())
        seen = "a record of another upload"
    raise WorkError(
        f"a record of {shard.topic} cannot be read",
        seen=f"partition {partition}, offset {offset}: {seen}",
        next_step=f"deeptool check {shard.upload.begun.session} verifies every record",
    )
