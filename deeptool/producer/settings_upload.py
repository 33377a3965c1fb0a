"""Upload what a settings file's pipeline yields, one split at a time: ``deeptool produce``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import upload_owner
from deeptool.catalog.events import Completed
from deeptool.catalog.fold import TopicState
from deeptool.client.topic_names import topic_name
from deeptool.codec import DEFAULT_CODEC
from deeptool.errors import UserError
from deeptool.pipelines.pipeline_probe import without_digests
from deeptool.pipelines.reuse import AskedUpload, differences
from deeptool.pipelines.settings_pipeline import SettingsPipeline
from deeptool.pipelines.split_probe import SplitProbe
from deeptool.producer.upload_request import Provenance, UploadRequest, UploadTuning
from deeptool.producer.upload_run import run_upload
from deeptool.settings import Settings


@dataclass(frozen=True)
class SplitUpload:
    """One split of a settings file, and how to upload it; fields as `deeptool.upload` has them.

    Attributes
    ----------
    any_stored : bool
        Whether any complete dataset under its name is reused, whatever its samples are.
    """

    settings: Settings
    split: str
    topic: str | None = None
    replace: bool = False
    any_stored: bool = False
    auto_shard: bool = False
    epochs: int = 1
    limit: int | None = None
    codec: str = DEFAULT_CODEC
    partitions: int = 4
    compression: str = "none"

    @property
    def target_topic(self) -> str:
        """`topic`, or the session's own."""
        settings = self.settings
        return self.topic or topic_name(settings.session_name, settings.proc_id, self.split)


@dataclass(frozen=True)
class StoredSplit:
    """What is stored of a split after an upload.

    Attributes
    ----------
    topic, split : str
    completed : Completed
        What the catalog keeps of the upload.
    reused : bool
        Whether it was complete before.
    """

    topic: str
    split: str
    completed: Completed
    reused: bool

    @property
    def samples(self) -> int:
        """Over all stored epochs."""
        return sum(epoch.samples for epoch in self.completed.epochs)

    @property
    def records(self) -> int:
        return sum(epoch.records for epoch in self.completed.epochs)

    @property
    def bytes(self) -> int:
        """Of keys and values, before compression."""
        return sum(epoch.bytes for epoch in self.completed.epochs)

    def to_json(self) -> dict[str, Any]:
        completed = self.completed
        return {
            "topic": self.topic,
            "split": self.split,
            "upload": completed.upload,
            "reused": self.reused,
            "samples": self.samples,
            "records": self.records,
            "bytes": self.bytes,
            "epochs": [
                {"samples": epoch.samples, "records": epoch.records, "bytes": epoch.bytes}
                for epoch in completed.epochs
            ],
            "data_hparams": dict(completed.data_hparams),
            "wall_seconds": completed.wall_seconds,
            "cpu_seconds": completed.cpu_seconds,
            "pipeline_cpu_seconds": completed.pipeline_cpu_seconds,
        }


def reusable_split(
    log: CatalogLog, asked: SplitUpload, probe: SplitProbe, tell: Callable[[str], None]
) -> StoredSplit | SplitUpload:
    """The complete dataset that can be taken instead of an upload, or the upload that is needed.

    Parameters
    ----------
    log : CatalogLog
    asked : SplitUpload
    probe : SplitProbe
        Of the same split.
    tell : callable
        Called with a line where a stored dataset differs and is going to be replaced.

    Raises
    ------
    UserError
        There is one, but it differs from what an upload would store now, somebody else uploaded it,
        and `asked` is not to replace it.
    """
    topic = asked.target_topic
    current = log.read().get(topic, TopicState()).current
    if current is None or current.completed is None:
        return asked
    if asked.any_stored:
        return StoredSplit(topic, asked.split, current.completed, reused=True)
    way = AskedUpload(asked.epochs, asked.codec, asked.limit, asked.auto_shard)
    now = probe.report(asked.settings)
    found = differences(current, now, way)
    if found and not differences(current, without_digests(now), way):
        # Digests alone differ. Entropy, perhaps: then they say nothing.
        found = differences(current, probe.try_again(asked.settings), way)
    if not found:
        return StoredSplit(topic, asked.split, current.completed, reused=True)
    own = bool(os.environ.get("DEEPTOOL_OWNER")) and current.begun.owner == upload_owner()
    if not (own or asked.replace):
        raise UserError(
            f"topic {topic} holds a complete dataset, but a different one",
            seen="; ".join(found),
            next_step="--reuse --replace uploads it again and then deletes the earlier one",
        )
    tell(
        f"{topic}: is uploaded again, and the earlier dataset is deleted then. It differs: "
        f"{'; '.join(found)}"
    )
    return replace(asked, replace=True)


def upload_split(
    log: CatalogLog, asked: SplitUpload, tuning: UploadTuning, probe: SplitProbe
) -> StoredSplit:
    """Run the pipeline of a split and upload its samples.

    Raises
    ------
    UserError, WorkError
        See `deeptool.upload`.
    """
    settings, topic = asked.settings, asked.target_topic
    began = time.monotonic()
    pipeline = SettingsPipeline(settings, asked.split, asked.limit, asked.auto_shard)
    request = UploadRequest(
        name=settings.session_name,
        split=asked.split,
        proc_id=settings.proc_id,
        num_procs=settings.num_procs,
        auto_shard=asked.auto_shard,
        codec=asked.codec,
        partitions=asked.partitions,
        compression=asked.compression,
        epochs=asked.epochs,
        limit=pipeline.limit,
        replace=asked.replace,
        batched=settings.batched,
        batch_size=settings.batch_size if settings.batched else None,
        topic=topic,
        provenance=Provenance(
            hparams=settings.hparams,
            data_hparams=settings.data_hparams,
            settings_sha256=settings.sha256,
            raw_data=settings.raw_data(asked.split),
            # Not beside the upload: code that writes files when it first runs would meet itself.
            pipeline=lambda: probe.facts_after(settings, time.monotonic() - began),
        ),
    )
    completed = run_upload(log, pipeline, request, tuning)
    return StoredSplit(topic, asked.split, completed, reused=False)
