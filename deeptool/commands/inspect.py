"""``deeptool inspect``: what is stored, as a table or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from deeptool.catalog.claim import SILENT_HEARTBEATS
from deeptool.catalog.events import Completed
from deeptool.catalog.fold import Catalog, Upload
from deeptool.catalog.log import CatalogLog
from deeptool.client import admin
from deeptool.client.connection import connect
from deeptool.commands import options


def rows(catalog: Catalog, partitions: Mapping[str, int], now: float) -> list[dict[str, Any]]:
    """One JSON-able row for each upload that is stored, under way, or failed last.

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
    return sorted(found, key=lambda row: (row["session"], row["split"], row["proc_id"]))


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


def _costs(completed: Completed | None) -> dict[str, float | None]:
    names = ("wall_seconds", "cpu_seconds", "pipeline_cpu_seconds")
    return {name: getattr(completed, name, None) for name in names}


def table(found: list[dict[str, Any]]) -> Table:
    """The rows for people; a topic's name is session, procID and split."""
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("topic", "state"):
        drawn.add_column(name, overflow="fold")
    for name in ("samples", "size", "partitions", "epochs", "age"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("settings", no_wrap=True)
    drawn.add_column("data hparams", overflow="fold")
    for row in found:
        cells = (
            row["topic"],
            _condition(row),
            f"{row['samples']:,}",
            decimal(row["bytes"]),
            "-" if row["partitions"] is None else str(row["partitions"]),
            str(len(row["epochs"]) or "-"),
            span(row["age_seconds"]),
            (row["settings_sha256"] or "-")[:8],
            ", ".join(f"{key}={value}" for key, value in row["data_hparams"].items()) or "-",
        )
        drawn.add_row(*map(Text, cells))
    return drawn


def _condition(row: Mapping[str, Any]) -> str:
    shard = f", shard {row['proc_id']} of {row['num_procs']}" if row["num_procs"] > 1 else ""
    if row["state"] == "failed":
        return f"failed{shard}: {row['reason']}"
    if row["state"] == "complete":
        return f"complete{shard}"
    text = f"uploading{shard} by {row['owner']}"
    if row["age_seconds"] > SILENT_HEARTBEATS * row["heartbeat_seconds"]:
        return f"{text}, silent for {span(row['age_seconds'])}"
    return f"{text} for {span(row['time'] - row['begun'] + row['age_seconds'])}"


def span(seconds: float) -> str:
    """A span of time in its largest unit: ``5 s``, ``3 min``, ``2 h``, ``4 d``."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 86_400:.0f} d"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@options.server_option
@options.client_properties_option
@options.json_option
@click.argument("session", required=False)
def command(
    servers: tuple[str, ...], client_properties: str | None, as_json: bool, session: str | None
) -> None:
    """List what is stored: all of it, or one SESSION (or one topic)."""
    servers = servers or options.DEFAULT_SERVERS
    connection = connect(servers, client_properties)
    with CatalogLog(connection) as log:
        catalog = log.read()
    stored = rows(catalog, admin.partitions_of(connection), time.time())
    found = [row for row in stored if session in (None, row["session"], row["topic"])]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif found:
        console = Console()
        if not console.is_terminal:
            # Lines of a file or a pipe are for grep: whole.
            console.width = 1000
        console.print(table(found))
    else:
        address = ",".join(servers)
        what = "nothing is stored" if session is None else f"nothing of {session} is stored"
        click.echo(
            f"{what} at {address}; upload with:"
            f" deeptool produce --server {address} --usersettings FILE"
        )
