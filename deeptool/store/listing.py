"""What is stored on a cluster, as rows that JSON can hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from deeptool.catalog.bad_record import BadRecord
from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.events import Completed
from deeptool.catalog.fold import Catalog, TopicState, Upload
from deeptool.client import admin
from deeptool.client.topic_names import CATALOG_TOPIC, parse_topic

# Of an upload: what nobody knows where its record cannot be read.
_FIELDS = (
    *("owner", "begun", "time", "age_seconds", "heartbeat_seconds", "codec", "batch_size"),
    *("element_spec", "element_spec_json", "settings_sha256", "raw_data"),
    *("wall_seconds", "cpu_seconds", "pipeline_cpu_seconds", "other_ways"),
)


def list_stored(log: CatalogLog) -> list[dict[str, Any]]:
    """One row for each upload that is stored, under way, or failed last; see `listing_rows`.

    And one for each record of the catalog that is no event, see `_bad_row`.

    Parameters
    ----------
    log : CatalogLog
    """
    catalog, partitions = log.read(), admin.partitions_of(log.connection)
    found = listing_rows(catalog, partitions, time.time())
    found += [_bad_row(bad, catalog, partitions) for bad in log.bad_records]
    found.sort(key=_place)
    return found


def listing_rows(
    catalog: Catalog, partitions: Mapping[str, int], now: float
) -> list[dict[str, Any]]:
    """One row for each upload that is stored, under way, or failed last.

    Parameters
    ----------
    catalog : mapping
        From `CatalogLog.read`.
    partitions : mapping of str to int
        How many partitions each topic has.
    now : float
        Unix time, for ages.

    Returns
    -------
    list of dict
        Sorted by session, split and procID. ``samples``, ``records`` and ``bytes`` are those of
        all stored epochs (bytes of the record values, before compression); ``epochs`` has them one
        by one. ``time`` is when the upload ended, or the last sign of one under way.
    """
    found = []
    for topic, state in catalog.items():
        uploads = (
            ("complete", state.current),
            ("uploading", state.pending),
            ("failed", state.gave_up),
        )
        for condition, upload in uploads:
            if upload is not None:
                row = _row(topic, condition, upload, now)
                found.append({**row, "partitions": partitions.get(topic)})
    return sorted(found, key=_place)


def _place(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["session"], row["split"], row["proc_id"]


def _bad_row(bad: BadRecord, catalog: Catalog, partitions: Mapping[str, int]) -> dict[str, Any]:
    """A record of the catalog that is no event, with the fields of an upload as far as they go.

    ``state`` is "damaged" where it may have made a dataset of its topic, else "skipped".
    """
    state = catalog.get(bad.topic or "", TopicState())
    topic = bad.topic or CATALOG_TOPIC
    session, proc_id, split = parse_topic(topic) or (topic, 0, "")
    unknown: dict[str, Any] = dict.fromkeys(_FIELDS)
    return {
        **unknown,
        "topic": topic,
        "session": session,
        "proc_id": proc_id,
        "num_procs": 1,
        "split": split,
        "state": "damaged" if bad in state.damaged else "skipped",
        "upload": bad.upload,
        "samples": 0,
        "records": 0,
        "bytes": 0,
        "partitions": partitions.get(topic),
        "epochs": [],
        "reason": bad.reason,
        "hparams": {},
        "data_hparams": {},
        "offset": bad.offset,
        "event": bad.event,
    }


def _row(topic: str, condition: str, upload: Upload, now: float) -> dict[str, Any]:
    begun, completed = upload.begun, upload.completed
    heard = completed or upload.failed or upload.progress or begun
    epochs = completed.epochs if completed else ()
    return {
        "topic": topic,
        "session": begun.session,
        "proc_id": begun.proc_id,
        "num_procs": begun.num_procs,
        "split": begun.split,
        "state": condition,
        "upload": upload.id,
        "owner": begun.owner,
        "samples": upload.samples,
        "records": sum(epoch.records for epoch in epochs),
        "bytes": upload.bytes,
        "epochs": [
            {"samples": epoch.samples, "records": epoch.records, "bytes": epoch.bytes}
            for epoch in epochs
        ],
        "begun": begun.time,
        "time": heard.time,
        "age_seconds": max(0.0, now - heard.time),
        "heartbeat_seconds": begun.heartbeat_seconds,
        "reason": upload.failed.reason if upload.failed else None,
        "codec": begun.codec,
        "batch_size": begun.batch_size,
        "element_spec": str(begun.element_spec),
        "element_spec_json": begun.element_spec.to_json(),
        "hparams": dict(begun.hparams),
        "data_hparams": dict(upload.data_hparams),
        "settings_sha256": begun.settings_sha256,
        "raw_data": dict(begun.raw_data) if begun.raw_data else None,
        **_costs(completed),
    }


def _costs(completed: Completed | None) -> dict[str, Any]:
    names = ("wall_seconds", "cpu_seconds", "pipeline_cpu_seconds", "other_ways")
    return {name: getattr(completed, name, None) for name in names}
