"""Uploads with inner settings, and what an upload left on the broker by the catalog's word."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Completed
from deeptool.catalog.fold import TopicState, Upload
from deeptool.client.connection import connect
from deeptool.codec import make_codec
from deeptool.codec.records import RecordHeader, parse_headers
from deeptool.codec.values import Leaves, concat_rows
from deeptool.producer.upload_request import UploadRequest, UploadTuning
from deeptool.producer.upload_run import run_upload

TUNING = {field.name for field in fields(UploadTuning)}


def tuned_upload(
    dataset: Any, server: str, name: str, split: str = "train", **options: Any
) -> Completed:
    """`deeptool.upload`, with the fields of `UploadTuning` among its options."""
    tuning = UploadTuning(**{key: options.pop(key) for key in TUNING & options.keys()})
    request = UploadRequest(name=name, split=split, **options)
    log = CatalogLog(connect(server))
    completed = run_upload(log, dataset, request, tuning)
    log.close()
    return completed


def state(server: str, topic: str) -> TopicState:
    """What the catalog says of a topic."""
    with CatalogLog(connect(server)) as log:
        return log.read().get(topic, TopicState())


def current(server: str, topic: str) -> Upload:
    upload = state(server, topic).current
    assert upload is not None
    return upload


def records(server: str, upload: Upload, epoch: int = 0) -> list[tuple[RecordHeader, Any]]:
    """Header and message of all that the catalog says an epoch consists of, in sample order."""
    assert upload.completed is not None
    found = []
    consumer = Consumer(
        {
            "bootstrap.servers": server,
            "group.id": "test",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
    )
    try:
        for number, runs in upload.completed.epochs[epoch].runs.items():
            for start, stop in runs:
                consumer.assign([TopicPartition(upload.begun.topic, number, start)])
                for offset in range(start, stop):
                    message = consumer.poll(20)
                    assert message is not None
                    assert message.error() is None, message.error()
                    assert message.offset() == offset
                    header = parse_headers(message.headers())
                    assert header is not None
                    found.append((header, message))
    finally:
        consumer.close()
    return sorted(found, key=lambda pair: pair[0].first)


def samples(server: str, upload: Upload, epoch: int = 0) -> Leaves:
    """All samples of an epoch, in the order of the pipeline."""
    codec = make_codec(upload.begun.codec, upload.begun.element_spec)
    found = records(server, upload, epoch)
    first = 0
    for header, _ in found:
        assert (header.upload, header.epoch, header.first) == (upload.id, epoch, first)
        first += header.count
    return concat_rows([codec.decode(message.value(), message.key()) for _, message in found])


def column(server: str, upload: Upload, epoch: int = 0, leaf: int = 0) -> list[Any]:
    """One dense leaf of all samples of an epoch, in the order of the pipeline."""
    return list(np.asarray(samples(server, upload, epoch)[leaf]).tolist())


def log_files(directory: Any, topic: str, partition: int) -> Any:
    """The log segment of a partition in a broker's data folder."""
    return directory / f"{topic}-{partition}" / "00000000000000000000.log"
