"""`deeptool.upload`: from a pipeline to a dataset in the catalog."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from os import PathLike
from typing import Any

from deeptool.catalog.claim import claim, owner
from deeptool.catalog.events import Begun, Completed
from deeptool.catalog.log import CatalogLog
from deeptool.client import admin, topic_names
from deeptool.client.connection import connect
from deeptool.codec import COMPRESSIONS, DEFAULT_CODEC, make_codec
from deeptool.codec.records import TARGET_BYTES
from deeptool.errors import UserError
from deeptool.producer import topic as topics
from deeptool.producer.commit import commit, delete_garbage, give_up
from deeptool.producer.heartbeat import Heartbeat
from deeptool.producer.meter import CpuMeter
from deeptool.producer.sender import Sender
from deeptool.producer.source import Source
from deeptool.producer.space import SpaceCheck
from deeptool.producer.work import Work
from deeptool.progress import Listener

HEARTBEAT_SECONDS = 10.0


def upload(
    dataset: Any,
    servers: str | Sequence[str],
    name: str,
    split: str = "train",
    *,
    batched: bool = True,
    proc_id: int = 0,
    num_procs: int = 1,
    auto_shard: bool = False,
    codec: str = DEFAULT_CODEC,
    partitions: int = 4,
    compression: str = "none",
    epochs: int = 1,
    limit: int | None = None,
    replace: bool = False,
    hparams: Mapping[str, Any] | None = None,
    data_hparams: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
    settings_sha256: str | None = None,
    raw_data: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    topic: str | None = None,
    client_properties: Mapping[str, str] | str | PathLike[str] | None = None,
    progress: Listener | None = None,
    on_wait: Callable[[str], None] | None = None,
    heartbeat: float = HEARTBEAT_SECONDS,
    record_bytes: int = TARGET_BYTES,
    since: tuple[float, float] | None = None,
) -> Completed:
    """Store a ``tf.data.Dataset`` in Kafka, every sample exactly once.

    The dataset exists from the moment its `Completed` event is in the catalog. An upload that ends
    before, in whatever way, leaves nothing that a reader takes for data.

    Parameters
    ----------
    dataset : tf.data.Dataset, or callable of int that returns one
        Of x, (x, y) or (x, y, sample_weight), each a tensor or a nested tuple or dict of tensors,
        dense or ragged. A callable is asked for each stored epoch, from 0: fresh augmentation.
    servers : str or sequence of str
        ``host:port``.
    name, split : str
        What readers ask for; split is "train" or "val".
    batched : bool
        Whether axis 0 of the elements counts samples.
    proc_id, num_procs : int
        num_procs > 1: this is shard proc_id of that many, read as one dataset. num_procs 1: proc_id
        is a variant, a dataset of its own.
    auto_shard : bool
        Take every num_procs-th element of a dataset whose order is deterministic.
    codec : str
        "arrow" or "example".
    partitions : int
        Of a new topic.
    compression : str
        "none", "lz4" or "zstd".
    epochs : int
        Passes over the dataset to store.
    limit : int, optional
        Samples an epoch after which the upload ends, of the whole dataset with `auto_shard`.
    replace : bool
        Whether a complete dataset of that name may be replaced.
    hparams : mapping, optional
        Kept in the catalog.
    data_hparams : mapping or callable, optional
        Those of them that the samples depend on; a callable is asked again at the end.
    settings_sha256, raw_data
        See `deeptool.catalog.events.Begun`.
    batch_size : int, optional
        What readers get by default; that of the first element where it is not given.
    topic : str, optional
        Instead of the one named after name, proc_id and split.
    client_properties : mapping or path, optional
        librdkafka's settings for a secured broker.
    progress : callable, optional
        Told of the progress several times a second, and of the end.
    on_wait : callable, optional
        Called with a line to show while another upload of the topic is watched.
    heartbeat : float
        Seconds; see `Begun.heartbeat_seconds`.
    record_bytes : int
        About the size of a record, before compression.
    since : tuple of (float, float), optional
        Unix time and process CPU seconds from which on the upload is charged; now by default.

    Returns
    -------
    Completed

    Raises
    ------
    UserError
        Before anything is written: an argument is wrong, no broker answers, the topic is complete
        or another upload's, the dataset is infinite without a limit or cannot be stored.
    WorkError
        The pipeline failed or is empty, records were refused or not acknowledged, there is not
        enough space, or another upload took over. The catalog says failed then.
    """
    since = since or (time.time(), time.process_time())
    _check_numbers(
        partitions=partitions,
        epochs=epochs,
        limit=limit,
        num_procs=num_procs,
        batch_size=batch_size,
    )
    if num_procs > 1 and proc_id >= num_procs:
        raise UserError(
            "there is no such shard", seen=f"procID {proc_id}", valid=f"0 to {num_procs - 1}"
        )
    if compression not in COMPRESSIONS:
        raise UserError("unknown compression", seen=compression, valid=", ".join(COMPRESSIONS))
    named = topic_names.topic_name(name, proc_id, split)
    topic = topic_names.check_topic(topic) if topic else named
    connection = connect(servers, client_properties)
    meter = CpuMeter()
    source = Source(
        dataset,
        batched=batched,
        limit=limit,
        shard=(proc_id, num_procs) if auto_shard and num_procs > 1 else None,
        meter=meter,
    )
    with closing(source):
        topics.check_sample_size(source.spec)
        stored_as = make_codec(codec, source.spec)
        batch_size = batch_size or source.batch_size()
        samples = source.expected(batch_size)
        known = data_hparams if callable(data_hparams) else (lambda: data_hparams or {})

        log = CatalogLog(connection)
        delete_garbage(connection, log, topic)
        numbers, max_message_bytes = topics.prepare(connection, topic, partitions)
        begun = claim(
            log,
            Begun(
                topic=topic,
                upload=uuid.uuid4().hex,
                owner=owner(),
                session=name,
                proc_id=proc_id,
                num_procs=num_procs,
                split=split,
                codec=codec,
                element_spec=source.spec,
                batch_size=batch_size,
                hparams=hparams or {},
                data_hparams=known(),
                settings_sha256=settings_sha256,
                raw_data=raw_data,
                heartbeat_seconds=heartbeat,
                start=admin.end_offsets(connection, topic),
                time=time.time(),
                replace=replace,
                limit=limit,
                auto_shard=auto_shard,
            ),
            on_wait=on_wait,
        )
        sender = Sender(
            connection,
            topic,
            numbers,
            compression=compression,
            max_message_bytes=max_message_bytes,
        )
        work = Work(
            source=source,
            codec=stored_as,
            epochs=epochs,
            expected=None if samples is None else samples * epochs,
            record_bytes=record_bytes,
            max_message_bytes=max_message_bytes,
            compression=compression,
            listener=progress or (lambda _: None),
        )
        heart = Heartbeat(
            log, begun, lambda: (sender.ledger.samples, sender.ledger.bytes), sender.stop
        )
        try:
            heart.start()
            meter.leave_out(heart.thread)
            work.run(begun, sender, SpaceCheck(connection, topic, compression, work.expected))
            heart.stop()
            completed = Completed(
                topic=topic,
                upload=begun.upload,
                epochs=sender.ledger.epochs(),
                data_hparams=known(),
                wall_seconds=time.time() - since[0],
                cpu_seconds=time.process_time() - since[1],
                pipeline_cpu_seconds=meter.seconds,
                time=time.time(),
            )
            commit(log, begun, completed)
        except BaseException as error:
            sender.stop()
            give_up(log, heart, begun, error)
            work.report("failed", sender)
            raise
        work.report("complete", sender)
        delete_garbage(connection, log, topic)
        log.close()
        return completed


def _check_numbers(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"{name} is at least 1", seen=number)
