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

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import SILENT_HEARTBEATS
from deeptool.client.connection import connect
from deeptool.commands import options
from deeptool.errors import UserError, did_you_mean, printable
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.store.listing import list_stored, listing_rows


def stored_table(found: list[dict[str, Any]]) -> Table:
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
            "-" if row["age_seconds"] is None else rounded_span(row["age_seconds"]),
            (row["settings_sha256"] or "-")[:8],
            ", ".join(f"{key}={value}" for key, value in row["data_hparams"].items()) or "-",
        )
        # Names come from a broker, on which others may write.
        drawn.add_row(*(Text(printable(cell)) for cell in cells))
    return drawn


def _condition(row: Mapping[str, Any]) -> str:
    shard = f", shard {row['proc_id']} of {row['num_procs']}" if row["num_procs"] > 1 else ""
    if row["state"] == "failed":
        return f"failed{shard}: {row['reason']}"
    if row["state"] in ("damaged", "skipped"):
        kind = f"'{row['event']}'" if row["event"] else "a record"
        of = f" of upload {row['upload']}" if row["upload"] else ""
        return f"{row['state']}: offset {row['offset']} of the catalog, {kind}{of}: {row['reason']}"
    if row["state"] == "complete":
        return f"complete{shard}"
    text = f"uploading{shard} by {row['owner']}"
    if row["age_seconds"] > SILENT_HEARTBEATS * row["heartbeat_seconds"]:
        return f"{text}, silent for {rounded_span(row['age_seconds'])}"
    return f"{text} for {rounded_span(row['time'] - row['begun'] + row['age_seconds'])}"


def rounded_span(seconds: float) -> str:
    """A span of time in its largest unit: ``5 s``, ``3 min``, ``2 h``, ``4 d``."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 86_400:.0f} d"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@options.server_option
@options.client_properties_option
@options.json_option
@click.argument("name", required=False)
def command(
    servers: tuple[str, ...], client_properties: str | None, as_json: bool, name: str | None
) -> None:
    """List what is stored: everything, one dataset NAME, one topic NAME, or a sealed dataset's
    folder NAME.
    """
    if name is not None and options.is_folder(name, servers):
        found = listing_rows(SealedFolder(name).manifest.catalog, {}, time.time())
    else:
        servers = servers or options.DEFAULT_SERVERS
        connection = connect(servers, client_properties)
        with CatalogLog(connection) as log:
            everything = list_stored(log)
        found = [row for row in everything if name in (None, row["session"], row["topic"])]
        if name is not None and not found:
            raise _nothing_named(name, everything, ",".join(servers))
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif found:
        console = Console()
        if not console.is_terminal:
            # For grep, each row of a file or a pipe stays on one line.
            console.width = 1000
        console.print(stored_table(found))
    else:
        address = ",".join(servers)
        click.echo(f"nothing is stored at {address}; {_upload(address)}")


def _nothing_named(name: str, stored: list[dict[str, Any]], address: str) -> UserError:
    names = dict.fromkeys(row["session"] for row in stored if row["session"])
    topics = [row["topic"] for row in stored]
    near = did_you_mean(name, names) or did_you_mean(name, topics)
    return UserError(
        f"nothing is stored under {printable(name)}{near}",
        seen=f"at {address}: {', '.join(names) or 'no dataset'}",
        next_step=_upload(address),
    )


def _upload(address: str) -> str:
    return f"upload with: deeptool produce --server {address} --usersettings FILE"
