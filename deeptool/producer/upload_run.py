"""One upload, from its claim in the catalog to its end there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import claim, upload_owner
from deeptool.catalog.events import Begun, Completed
from deeptool.client import admin
from deeptool.codec import make_codec
from deeptool.codec.protocol import Codec
from deeptool.producer import data_topic
from deeptool.producer.commit import commit, delete_garbage, give_up
from deeptool.producer.disk_space import DiskSpaceCheck
from deeptool.producer.disk_watch import DiskWatch
from deeptool.producer.heartbeat import Heartbeat
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
    charged_from = tuning.charged_from or (time.time(), time.process_time())
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
            log, _begun(log, request, samples, batch_size, tuning), on_wait=tuning.on_wait
        )
        sender = Sender(
            log.connection,
            topic,
            partitions,
            compression=request.compression,
            max_message_bytes=max_message_bytes,
        )
        work = _work(request, tuning, samples, codec, batch_size, max_message_bytes)
        completed = _Claimed(log, begun, sender, work, meter).run(request, charged_from)
        delete_garbage(log, topic)
        return completed


def _begun(
    log: CatalogLog,
    request: UploadRequest,
    samples: PipelineSamples,
    batch_size: int,
    tuning: UploadTuning,
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
        start=admin.end_offsets(log.connection, request.target_topic),
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


@dataclass(frozen=True)
class _Claimed:
    """An upload that has its topic: from here on the catalog learns how it ends."""

    log: CatalogLog
    begun: Begun
    sender: Sender
    work: UploadWork
    meter: PipelineCpuMeter

    def run(self, request: UploadRequest, charged_from: tuple[float, float]) -> Completed:
        ledger = self.sender.ledger
        heart = Heartbeat(
            self.log, self.begun, lambda: (ledger.samples, ledger.bytes), self.sender.stop
        )
        watch = DiskWatch(
            self.log.connection, self.begun.topic, tuple(self.begun.start), self.sender.stop
        )
        try:
            heart.start()
            watch.start()
            for thread in (heart.thread, watch.thread):
                self.meter.leave_out(thread)
            space = DiskSpaceCheck(
                self.log.connection, self.begun.topic, request.compression, self.work.expected
            )
            self.work.run(self.begun, self.sender, space)
            # Takes a while: the upload has to be seen alive.
            pipeline = request.provenance.pipeline and request.provenance.pipeline()
            heart.stop()
            completed = self._completed(request, charged_from, pipeline)
            commit(self.log, self.begun, completed)
        except BaseException as error:
            self.sender.stop()
            give_up(self.log, heart, self.begun, error, clean=watch.saw_full_disk)
            self.work.report("failed", self.sender)
            raise
        finally:
            watch.stop()
        self.work.report("complete", self.sender)
        return completed

    def _completed(
        self,
        request: UploadRequest,
        charged_from: tuple[float, float],
        pipeline: Mapping[str, Any] | None,
    ) -> Completed:
        wall, cpu = charged_from
        return Completed(
            topic=self.begun.topic,
            upload=self.begun.upload,
            epochs=self.sender.ledger.epochs(),
            data_hparams=request.provenance.known_data_hparams(),
            wall_seconds=time.time() - wall,
            cpu_seconds=time.process_time() - cpu,
            pipeline_cpu_seconds=self.meter.seconds,
            pipeline=pipeline,
            time=time.time(),
        )
