"""The stored dataset as a trial reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deeptool.broker import connect
from deeptool.catalog import datasets
from deeptool.catalog.log import CatalogLog
from deeptool.naming import Split
from deeptool.reader import ReadMeter, kafka_dataset
from deeptool.settings import Settings, compare
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
        No broker answers, no such dataset is complete, none was made under this trial's data
        hparams, or it cannot be read as the settings ask.
    """
    servers = source.servers or tuple(settings.kafka_bootstrap_servers)
    session = settings.session_name

    def find(split: Split, only: int | None) -> Callable[[Any], Any]:
        def finder(catalog: Any) -> Any:
            variant = only
            if variant is None:
                variant = datasets.find_variant(catalog, session, split, settings.hparams)
            return datasets.find(catalog, session, split, variant)

        return finder

    with CatalogLog(connect(servers, source.client_properties)) as log:
        train = datasets.wait_for(log, find("train", proc_id), source.wait, on_wait)
        if len(train.shards) == 1:
            proc_id = train.begun.proc_id
        val = datasets.wait_for(log, find("val", proc_id), source.wait, on_wait)
    for stored in (train, val):
        for warning in compare(settings, stored.begun, stored.data_hparams):
            say(f"{stored.split}: {warning}")

    meter = ReadMeter()
    clock = Clock(first_epoch)

    def read(stored: Any, **how: Any) -> Any:
        return kafka_dataset(
            servers,
            session,
            stored.split,
            procIDs=[shard.upload.begun.proc_id for shard in stored.shards],
            batch_size=settings.batch_size,
            client_properties=source.client_properties,
            reader=source.reader,
            meter=meter,
            **how,
        )

    shuffled = {"shuffle": True, "seed": settings.random_seed}
    steps = settings.steps_per_epoch or None
    counts = [-(-train.samples(k) // settings.batch_size) for k in range(train.epochs)]
    if steps:
        one_pass = settings.online(read(train, **shuffled), True)
        whole = int(one_pass.cardinality()) == counts[0]
        begin, skip = start(first_epoch * steps, counts) if whole else (0, first_epoch * steps)
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
            "samples": {stored.split: stored.samples(0) for stored in (train, val)},
            "element_spec": [str(leaf) for leaf in train.spec.leaves],
        },
    )
