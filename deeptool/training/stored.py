"""The stored dataset as a trial reads it."""

from __future__ import annotations

from typing import Any

from deeptool.catalog import datasets
from deeptool.catalog.fold import Catalog
from deeptool.catalog.log import CatalogLog
from deeptool.catalog.stored import Stored
from deeptool.client.connection import connect
from deeptool.reader import ReadMeter, kafka_dataset
from deeptool.settings import Settings, compare
from deeptool.training.arrival import Arrival
from deeptool.training.data import (
    Clock,
    Say,
    Source,
    TrialData,
    for_keras,
    length,
    start,
    validation,
)


def from_kafka(
    settings: Settings,
    source: Source,
    proc_id: int | None,
    first_epoch: int,
    say: Say,
    on_wait: Say,
) -> TrialData:
    """The stored dataset that fits the settings, shuffled anew each epoch by random_seed.

    With ``source.online``, the training set may be one that is still being uploaded: its first pass
    is read in the order of its arrival.

    Parameters
    ----------
    proc_id : int or None
        The variant to read; None finds the one made under this trial's data hparams, or takes all
        shards.
    say : callable
        Told what differs from the upload without harm.
    on_wait : callable
        Told about once a second what is waited for.

    Raises
    ------
    UserError
        No broker answers, no such dataset is complete (or, online, begun), none was made under this
        trial's data hparams, or it cannot be read as the settings ask.
    """
    servers = source.servers or tuple(settings.kafka_bootstrap_servers)
    session = settings.session_name

    def find(catalog: Catalog) -> tuple[Stored, Stored]:
        # Both of one moment: while one is waited for, an upload of the other may fail.
        train = _find(catalog, settings, "train", proc_id, source.online)
        variant = train.begun.proc_id if len(train.shards) == 1 else proc_id
        return train, _find(catalog, settings, "val", variant, False)

    connection = connect(servers, source.client_properties)
    with CatalogLog(connection) as log:
        train, val = datasets.wait_for(log, find, source.wait, on_wait)
    if len(train.shards) == 1:
        proc_id = train.begun.proc_id
    for stored in (train, val):
        for warning in compare(settings, stored.begun, stored.data_hparams):
            say(f"{stored.split}: {warning}")
    arrival = None
    if not train.complete:
        arrival = Arrival(connection, settings, train)
        say("train: is still being uploaded, and read as it arrives")

    meter = ReadMeter()
    clock = Clock(first_epoch)

    def read(stored: Stored, **how: Any) -> Any:
        return kafka_dataset(
            servers,
            session,
            stored.split,
            procIDs=[shard.upload.begun.proc_id for shard in stored.shards],
            batch_size=settings.batch_size,
            client_properties=source.client_properties,
            reader=source.reader,
            follow=not stored.complete,
            meter=meter,
            **how,
        )

    shuffled = {"shuffle": True, "seed": settings.random_seed}
    steps = settings.steps_per_epoch or None
    if steps:
        begin, skip = 0, first_epoch * steps
        if train.complete:
            counts = [-(-train.samples(k) // settings.batch_size) for k in range(train.epochs)]
            one_pass = settings.online(read(train, **shuffled), True)
            if int(one_pass.cardinality()) == counts[0]:
                begin, skip = start(first_epoch * steps, counts)
        endless = read(train, **shuffled, first_epoch=begin, repeat=None)
        batches = settings.online(endless, True).skip(skip)
    else:
        batches = settings.online(read(train, **shuffled, first_epoch=clock), True)
    total = steps or length(batches, "steps_per_epoch")
    endless_val = {"repeat": None} if settings.validation_steps else {}
    return TrialData(
        train=for_keras(batches, total),
        val=validation(settings.online(read(val, **endless_val), False), settings.validation_steps),
        steps=steps,
        total=total,
        clock=clock,
        meter=meter,
        proc_id=proc_id,
        facts={
            "from": "kafka",
            "servers": list(servers),
            "topics": [shard.topic for stored in (train, val) for shard in stored.shards],
            "uploads": [shard.upload.id for stored in (train, val) for shard in stored.shards],
            "samples": {
                stored.split: stored.samples(0) if stored.complete else None
                for stored in (train, val)
            },
            "element_spec": [str(leaf) for leaf in train.spec.leaves],
        },
        arrival=arrival,
    )


def _find(
    catalog: Catalog, settings: Settings, split: str, proc_id: int | None, follow: bool
) -> Stored:
    session = settings.session_name
    if proc_id is None:
        proc_id = datasets.find_variant(catalog, session, split, settings.hparams, follow)
    return datasets.find(catalog, session, split, proc_id, follow)
