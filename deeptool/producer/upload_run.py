"""One upload, from its claim in the catalog to its end there."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from typing import Any

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import claim, upload_owner
from deeptool.catalog.events import Begun, Completed
from deeptool.client import admin
from deeptool.codec import make_codec
from deeptool.codec.protocol import Codec
from deeptool.cpu_clock import seconds_with_children
from deeptool.producer import data_topic
from deeptool.producer.claimed_upload import ClaimedUpload
from deeptool.producer.commit import delete_garbage
from deeptool.producer.pipeline_cpu import PipelineCpuMeter
from deeptool.producer.pipeline_samples import PipelineSamples
from deeptool.producer.sender import Sender
from deeptool.producer.upload_request import UploadRequest, UploadTuning
from deeptool.producer.upload_work import UploadWork


def run_upload(
    log: CatalogLog, dataset: Any, request: UploadRequest, tuning: UploadTuning
) -> Completed:
    """Upload a dataset over an open connection; `deeptool.upload` describes it.

    Parameters
    ----------
    log : CatalogLog
        Of the cluster to write to. It stays open, and is used by one upload at a time.
    dataset : tf.data.Dataset, or callable of int that returns one
    request : UploadRequest
    tuning : UploadTuning

    Raises
    ------
    UserError, WorkError
        See `deeptool.upload`.
    """
    charged_from = tuning.charged_from or _spent()
    meter = PipelineCpuMeter()
    samples = PipelineSamples(
        dataset, batched=request.batched, limit=request.limit, shard=request.shard, meter=meter
    )
    with closing(samples):
        # All that can be wrong with the dataset is found before the topic is made or claimed.
        data_topic.check_sample_size(samples.spec)
        codec = make_codec(request.codec, samples.spec)
        batch_size = request.batch_size or samples.batch_size()
        topic = request.target_topic
        delete_garbage(log, topic)
        partitions, max_message_bytes = data_topic.prepare_topic(
            log.connection, topic, request.partitions
        )
        begun = claim(
            log,
            _begun(
                request,
                samples,
                batch_size,
                tuning,
                start=admin.end_offsets(log.connection, topic, partitions),
            ),
            on_wait=tuning.on_wait,
        )
        sender = Sender(
            log.connection,
            topic,
            partitions,
            compression=request.compression,
            max_message_bytes=max_message_bytes,
        )
        work = _work(request, tuning, samples, codec, batch_size, max_message_bytes)
        provenance = request.provenance

        def finished() -> Completed:
            # Takes a while: the upload has to be seen alive.
            pipeline = provenance.pipeline and provenance.pipeline()
            wall, cpu = (now - then for now, then in zip(_spent(), charged_from, strict=True))
            # Measured after that: it is no part of storing.
            other_ways = samples.other_ways().to_json() if pipeline else None
            return Completed(
                topic=begun.topic,
                upload=begun.upload,
                epochs=sender.ledger.epochs(),
                data_hparams=provenance.known_data_hparams(),
                wall_seconds=wall,
                cpu_seconds=cpu,
                pipeline_cpu_seconds=meter.seconds,
                pipeline=pipeline,
                other_ways=other_ways,
                time=time.time(),
            )

        claimed = ClaimedUpload(log, begun, sender, work, request.compression)
        completed = claimed.run(finished, meter.leave_out)
        delete_garbage(log, topic)
        return completed


def _spent() -> tuple[float, float]:
    """Unix time, and CPU seconds of this process."""
    return time.time(), seconds_with_children()


def _begun(
    request: UploadRequest,
    samples: PipelineSamples,
    batch_size: int,
    tuning: UploadTuning,
    start: dict[int, int],
) -> Begun:
    """How the upload asks for its topic."""
    provenance = request.provenance
    return Begun(
        topic=request.target_topic,
        upload=uuid.uuid4().hex,
        owner=provenance.owner or upload_owner(),
        session=request.name,
        proc_id=request.proc_id,
        num_procs=request.num_procs,
        split=request.split,
        codec=request.codec,
        element_spec=samples.spec,
        batch_size=batch_size,
        hparams=provenance.hparams,
        data_hparams=provenance.known_data_hparams(),
        settings_sha256=provenance.settings_sha256,
        raw_data=provenance.raw_data,
        heartbeat_seconds=tuning.heartbeat_seconds,
        start=start,
        time=time.time(),
        replace=request.replace,
        limit=request.limit,
        auto_shard=request.auto_shard,
    )


def _work(
    request: UploadRequest,
    tuning: UploadTuning,
    samples: PipelineSamples,
    codec: Codec,
    batch_size: int,
    max_message_bytes: int,
) -> UploadWork:
    expected = samples.expected(batch_size)
    return UploadWork(
        samples=samples,
        codec=codec,
        epochs=request.epochs,
        expected=None if expected is None else expected * request.epochs,
        record_bytes=tuning.record_bytes,
        max_message_bytes=max_message_bytes,
        compression=request.compression,
        listener=tuning.listener,
    )
