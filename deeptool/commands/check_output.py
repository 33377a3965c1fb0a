"""What ``deeptool check`` and ``deeptool produce --check`` print."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from deeptool.catalog.bad_record import BadRecord
from deeptool.catalog.fold import Upload
from deeptool.client.connection import Connection
from deeptool.errors import UserError, printable
from deeptool.progress import shown
from deeptool.sealed.check_sealed import check_sealed
from deeptool.sealed.sealed_folder import SealedFolder
from deeptool.store.check import Checked, check_upload
from deeptool.store.stored_uploads import raise_if_damaged

_SHOWN_DAMAGES = 20


def check_and_print(
    connection: Connection,
    uploads: Sequence[Upload],
    as_json: bool,
    *,
    lost: Sequence[Checked] = (),
    skipped: Sequence[BadRecord] = (),
) -> None:
    """Check complete uploads, print what was found, and fail if something is damaged.

    Parameters
    ----------
    lost : sequence of Checked
        Topics that the catalog can no longer describe.
    skipped : sequence of BadRecord
        What is in the catalog and is no event: named, but no damage of these uploads by itself.
    """
    found = list(lost)
    for upload in uploads:
        with shown(f"check {upload.begun.topic}") as listener:
            found.append(check_upload(connection, upload, listener))
    _print(found, as_json, skipped)
    raise_if_damaged(found)


def check_folder_and_print(
    folder: SealedFolder, proc_id: int | None, split: str | None, as_json: bool
) -> None:
    """Check a sealed dataset, print what was found, and fail if something is damaged.

    Raises
    ------
    UserError
        It holds no such split or procID.
    """
    uploads = [
        one.begun
        for one in folder.manifest.uploads
        if proc_id in (None, one.begun.proc_id) and split in (None, one.begun.split)
    ]
    if not uploads:
        raise UserError(
            "this sealed dataset does not hold that",
            seen=", ".join(
                f"{name} {value}"
                for name, value in (("procID", proc_id), ("split", split))
                if value is not None
            ),
            valid=", ".join(one.begun.topic for one in folder.manifest.uploads),
        )
    found = []
    for begun in uploads:
        with shown(f"check {begun.topic}") as listener:
            found.append(check_sealed(folder, begun.topic, listener))
    _print(found, as_json, ())
    raise_if_damaged(found, "copy the folder again, or seal the dataset again with --replace")


def _print(found: Sequence[Checked], as_json: bool, skipped: Sequence[BadRecord]) -> None:
    if as_json:
        named = [{"offset": bad.offset, "reason": bad.reason} for bad in skipped]
        rows = [{**checked.to_json(), "skipped": named} for checked in found]
        click.echo(json.dumps(rows, indent=1))
    else:
        for checked in found:
            click.echo(printable(_described(checked), lines=True))
        if skipped:
            click.echo(printable(_passed_over(skipped), lines=True))


def _passed_over(skipped: Sequence[BadRecord]) -> str:
    lines = [f"no events, and skipped: {len(skipped)} records of the catalog"]
    return "\n".join(lines + [f"  {bad}" for bad in skipped[-_SHOWN_DAMAGES:]])


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
