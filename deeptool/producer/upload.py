"""`deeptool.upload`: store a ``tf.data.Dataset`` in Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Completed
from deeptool.client.connection import connect
from deeptool.codec import DEFAULT_CODEC
from deeptool.cpu_clock import seconds_with_children
from deeptool.producer.upload_request import Provenance, UploadRequest, UploadTuning
from deeptool.producer.upload_run import run_upload

if TYPE_CHECKING:
    import tensorflow as tf


def upload(
    dataset: tf.data.Dataset | Callable[[int], tf.data.Dataset],
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
    batch_size: int | None = None,
    topic: str | None = None,
    provenance: Provenance | None = None,
    client_properties: Mapping[str, str] | str | PathLike[str] | None = None,
) -> Completed:
    """Store a ``tf.data.Dataset`` in Kafka, every sample exactly once.

    The dataset exists once its `Completed` event is in the catalog. An upload that ends before, for
    whatever reason, leaves nothing that a reader takes for data.

    Parameters
    ----------
    dataset : tf.data.Dataset, or callable of int that returns one
        Of x, (x, y) or (x, y, sample_weight), each a tensor or a nested tuple or dict of tensors,
        dense or ragged. A callable is called with the number of each stored epoch, from 0, so that
        each can have its own augmentation.
    servers : str or sequence of str
        ``host:port`` of some of the brokers.
    name, split : str
        What readers ask for; split is "train" or "val".
    batched : bool
        Whether axis 0 of the elements counts samples.
    proc_id, num_procs : int
        With num_procs > 1 this is shard proc_id of that many, which readers take as one dataset.
        With num_procs 1, proc_id is the number of a variant, a dataset of its own.
    auto_shard : bool
        Take only every num_procs-th element, of a dataset whose order is deterministic.
    codec : str
        "arrow", or "example" for ``tf.train.Example``, one sample per record.
    partitions : int
        Of a new topic; an existing one keeps its own.
    compression : str
        "none", "lz4" or "zstd".
    epochs : int
        How many passes over the dataset to store.
    limit : int, optional
        Samples after which each epoch ends; with `auto_shard`, samples of the whole dataset.
    replace : bool
        Whether a complete dataset of that name may be replaced.
    batch_size : int, optional
        What readers get by default. By default that of the first element.
    topic : str, optional
        Write to this topic instead of ``<name>.<proc_id>.<split>``.
    provenance : Provenance, optional
        Where the samples come from; kept in the catalog.
    client_properties : mapping or path, optional
        librdkafka's settings for a secured broker, or a file of them.

    Returns
    -------
    Completed
        What the catalog keeps: counts, offsets, digests and costs.

    Raises
    ------
    UserError
        Before anything is written: an argument is wrong, no broker answers, the topic is complete
        or another upload's, the dataset is infinite without a limit or cannot be stored.
    WorkError
        The pipeline failed or is empty, records were rejected or not acknowledged, there is not
        enough space, or another upload took over. The catalog then says that the upload failed.

    Examples
    --------
    >>> deeptool.upload(dataset, "localhost:9092", "digits", split="train")
    """
    tuning = UploadTuning(charged_from=(time.time(), seconds_with_children()))
    request = UploadRequest(
        name=name,
        split=split,
        batched=batched,
        proc_id=proc_id,
        num_procs=num_procs,
        auto_shard=auto_shard,
        codec=codec,
        partitions=partitions,
        compression=compression,
        epochs=epochs,
        limit=limit,
        replace=replace,
        batch_size=batch_size,
        topic=topic,
        provenance=provenance or Provenance(),
    )
    log = CatalogLog(connect(servers, client_properties))
    completed = run_upload(log, dataset, request, tuning)
    # Only after success: a failed upload may have left a thread that still waits for the broker
    # with this log, and closing would wait for it.
    log.close()
    return completed
