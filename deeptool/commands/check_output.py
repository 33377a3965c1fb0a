"""What ``deeptool check`` and ``deeptool produce --check`` print."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from deeptool.catalog.fold import Upload
from deeptool.client.connection import Connection
from deeptool.progress import shown
from deeptool.store.check import Checked, check_upload
from deeptool.store.stored_uploads import raise_if_damaged

_SHOWN_DAMAGES = 20


def check_and_print(connection: Connection, uploads: Sequence[Upload], as_json: bool) -> None:
    """Check complete uploads, print what was found, and fail if something is damaged."""
    found: list[Checked] = []
    for upload in uploads:
        with shown(f"check {upload.begun.topic}") as listener:
            found.append(check_upload(connection, upload, listener))
    if as_json:
        click.echo(json.dumps([checked.to_json() for checked in found], indent=1))
    else:
        for checked in found:
            click.echo(_described(checked))
    raise_if_damaged(found)


def _described(checked: Checked) -> str:
    facts = (
        f"{checked.samples:,} samples, records: {checked.records:,}, "
        f"{checked.bytes / 1e6:,.1f} MB, {checked.seconds:.1f} s"
    )
    if not checked.damages:
        return f"{checked.topic}: as uploaded ({facts})"
    lines = [f"{checked.topic}: DAMAGED ({facts} are right)"]
    lines += [f"  {damage}" for damage in checked.damages[:_SHOWN_DAMAGES]]
    more = len(checked.damages) - _SHOWN_DAMAGES
    return "\n".join(lines + ([f"  and {more} more"] if more > 0 else []))
