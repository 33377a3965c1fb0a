"""Who may write to a topic: one upload at a time, and what is deleted for it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import psutil

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.damage import damaged_topic
from deeptool.catalog.events import Begun
from deeptool.catalog.fold import TopicState, Upload
from deeptool.client import admin, segments
from deeptool.client.connection import Connection
from deeptool.errors import UserError

# An upload that misses so many of its own heartbeats is considered dead.
SILENT_HEARTBEATS = 3
# A catalog that takes longer to read was not there for its writers either.
_AWAY_SECONDS = 2.0

Waiting = Callable[[str], None]


def upload_owner() -> str:
    """Who uploads from here: the same for the same job or command started again.

    ``$DEEPTOOL_OWNER`` if it is set (a campaign names each of its producers), else the Slurm job
    and array task, else this process.
    """
    named = os.environ.get("DEEPTOOL_OWNER")
    if named:
        return named
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    if job:
        return f"slurm:{job}_{os.environ.get('SLURM_ARRAY_TASK_ID') or 0}"
    # With the start time, because process ids come again.
    started = psutil.Process().create_time()
    return f"{socket.gethostname()}:{os.getpid()}:{started:.2f}"


def claim(log: CatalogLog, begun: Begun, *, on_wait: Waiting | None = None) -> Begun:
    """Make `begun` the pending upload of its topic, or say who has it.

    A pending upload of the same owner is taken over at once (it is this one, started again). That
    of another owner is watched for `SILENT_HEARTBEATS` of its own heartbeats, by this machine's
    clock alone: if nothing of it appears in the log it is taken over.

    Parameters
    ----------
    on_wait : callable, optional
        Called about once a second with a line to show while another upload is watched.

    Returns
    -------
    Begun
        As it was appended.

    Raises
    ------
    UserError
        The topic holds a complete dataset and ``begun.replace`` is not set, or the catalog is
        damaged where it tells of the topic, or another upload is alive, or won a race for it.
    WorkError
        The broker failed.
    """
    # The log decides, not this read: what is read here only saves a claim that would lose.
    state = log.read(create=True).get(begun.topic, TopicState())
    if state.damaged:
        raise damaged_topic(begun.topic, state)
    watched = state.pending
    if watched is not None and watched.begun.owner != begun.owner:
        state = watch_pending(log, watched, on_wait)
    if state.current is not None and not begun.replace:
        raise _complete(state.current)
    if state.pending is not None:
        begun = replace(begun, takes_over=state.pending.id)
    # Two may append at the same time. Both read back the same log, and so agree on who was first.
    catalog = log.append(begun)
    if still_mine(catalog, begun):
        return begun
    state = catalog.get(begun.topic, TopicState())
    if state.pending is not None:
        raise _taken(state.pending, "another upload began at the same time and was first")
    if state.current is not None and state.current.id != begun.upload:
        raise _complete(state.current)
    raise UserError(f"another command ended this upload to {begun.topic} as it began")


def watch_pending(log: CatalogLog, watched: Upload, on_wait: Waiting | None = None) -> TopicState:
    """The topic's state once a pending upload has ended or been silent for long enough.

    Raises
    ------
    UserError
        It is alive, or another one took it over.
    """
    topic, beat = watched.begun.topic, _beat(watched)
    patience = SILENT_HEARTBEATS * watched.begun.heartbeat_seconds
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        state = log.read().get(topic, TopicState())
        if time.monotonic() - asked > _AWAY_SECONDS:
            # While the broker was away, nobody could tell it anything.
            began = time.monotonic()
        silent = time.monotonic() - began
        if state.pending is None:
            return state
        if state.pending.id != watched.id or _beat(state.pending) != beat:
            raise _taken(state.pending, f"topic {topic} is being uploaded to")
        if silent >= patience:
            return state
        if on_wait is not None:
            on_wait(
                f"{topic}: waiting for a heartbeat of the upload by {watched.begun.owner}:"
                f" none for {silent:.0f} s, taken over after {patience:.0f} s"
            )
        time.sleep(max(0.05, min(1.0, patience / 10, patience - silent)))


def _beat(upload: Upload) -> int | None:
    return upload.progress.beat if upload.progress else None


def _taken(by: Upload, what: str) -> UserError:
    return UserError(
        what,
        seen=f"{by.samples} samples so far by {by.begun.owner} (upload {by.id})",
        valid="one upload at a time to a topic",
        next_step="wait for it, or stop it: its topic is free after three missed heartbeats"
        f" ({SILENT_HEARTBEATS * by.begun.heartbeat_seconds:.0f} s)",
    )


def _complete(upload: Upload) -> UserError:
    return UserError(
        f"topic {upload.begun.topic} holds a complete dataset",
        seen=f"{upload.samples} samples (upload {upload.id})",
        next_step="--replace uploads it again, --reuse keeps it as it is; deeptool inspect lists"
        " what is stored",
    )


def still_mine(catalog: Mapping[str, TopicState], begun: Begun) -> bool:
    """Whether `begun` is the pending upload of its topic: if not, write nothing more."""
    state = catalog.get(begun.topic, TopicState())
    return state.pending is not None and state.pending.id == begun.upload


def clean_up(connection: Connection, log: CatalogLog, topic: str) -> int:
    """Delete the records at the beginning of a topic that belong to no dataset.

    These are what replaced, deleted and failed uploads left behind. Nothing of the dataset or of
    an upload under way is deleted, at whatever moment another producer begins: the end of the
    topic is read first, the catalog then, and an upload that is not in the catalog yet writes
    behind that end. A deletion that was interrupted is finished by the next call. Where the catalog
    is damaged, it cannot say what belongs to no dataset, and nothing is deleted.

    Returns
    -------
    int
        How many partitions lost records.
    """
    # In this order: see above.
    ends = admin.end_offsets(connection, topic)
    state = log.read().get(topic, TopicState())
    if state.damaged:
        return 0
    kept = [upload for upload in (state.current, state.pending) if upload is not None]
    before = {
        partition: min([end, *(upload.first_offset(partition) for upload in kept)])
        for partition, end in ends.items()
    }
    starts = admin.start_offsets(connection, topic)
    before = {p: offset for p, offset in before.items() if offset > starts.get(p, 0)}
    admin.delete_records(connection, topic, before)
    if not kept:
        segments.free_last_segments(connection, topic, before)
    return len(before)
