"""Store NumPy batches on a real broker, where there is no TensorFlow to make a dataset with."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from catalog_builders import begun

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import claim
from deeptool.catalog.events import Completed
from deeptool.client import admin
from deeptool.client.connection import connect
from deeptool.codec import make_codec
from deeptool.codec.records import pack
from deeptool.codec.spec import Spec
from deeptool.codec.values import Leaves, rows
from deeptool.producer.commit import commit
from deeptool.producer.data_topic import prepare_topic
from deeptool.producer.sender import Sender


def upload_numpy(
    server: str, name: str, spec: Spec, *epochs: Sequence[Leaves], record_bytes: int = 4096
) -> None:
    """As a producer would; each of `epochs` is a stored pass."""
    event = begun(uuid.uuid4().hex, session=name, element_spec=spec, batch_size=rows(epochs[0][0]))
    with CatalogLog(connect(server)) as log:
        partitions, largest = prepare_topic(log.connection, event.topic, 3)
        start = admin.end_offsets(log.connection, event.topic)
        event = claim(log, begun(**{**vars(event), "start": start}))
        sender = Sender(
            log.connection,
            event.topic,
            partitions,
            compression="none",
            max_message_bytes=largest,
        )
        for epoch, batches in enumerate(epochs):
            for record in pack(
                make_codec(event.codec, spec),
                batches,
                upload=event.upload,
                epoch=epoch,
                target_bytes=record_bytes,
            ):
                sender.send(epoch, record)
        sender.wait()
        stored = sender.ledger.epochs()
        commit(log, event, Completed(event.topic, event.upload, stored, {}, 1.0, 1.0, 1.0, 1.0))
