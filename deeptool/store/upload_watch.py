"""Uploads that are still under way, pinned: alive, complete, or lost."""

from __future__ import annotations

import time
from dataclasses import replace

from deeptool.catalog.fold import Catalog, TopicState
from deeptool.catalog.stored import Shard, Stored
from deeptool.errors import WorkError

# Heartbeats that a producer may miss before it is taken for dead.
MISSED_HEARTBEATS = 3


class UploadWatch:
    """Follows the uploads of one dataset through the catalog.

    Attributes
    ----------
    stored : Stored
        As the catalog described it last.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self._beats: dict[str, tuple[int, float]] = {}

    def look(self, catalog: Catalog, *, count_from_now: bool = False) -> Stored:
        """What the catalog says now of the uploads that are followed.

        Parameters
        ----------
        count_from_now : bool
            No upload could be heard until now: silence counts from here on.

        Raises
        ------
        WorkError
            One of them failed, lost its topic, was deleted, or has been silent for too long.
        """
        if count_from_now:
            self._beats.clear()
        shards = tuple(
            shard if shard.upload.completed else self._shard(shard, catalog)
            for shard in self.stored.shards
        )
        self.stored = replace(self.stored, shards=shards)
        return self.stored

    def _shard(self, shard: Shard, catalog: Catalog) -> Shard:
        state = catalog.get(shard.topic, TopicState())
        upload, now = shard.upload, time.monotonic()
        if state.current is not None and state.current.id == upload.id:
            return Shard(shard.topic, state.current)
        if state.pending is None or state.pending.id != upload.id:
            raise self._lost(shard, state)
        progress = state.pending.progress
        beat = progress.beat if progress else -1
        before, since = self._beats.setdefault(upload.id, (beat, now))
        if beat != before:
            self._beats[upload.id] = (beat, now)
        elif now - since > MISSED_HEARTBEATS * upload.begun.heartbeat_seconds:
            raise WorkError(
                f"the upload to topic {shard.topic} has gone silent",
                seen=f"no heartbeat of {upload.begun.owner} for {now - since:.0f} s",
                valid=f"one every {upload.begun.heartbeat_seconds:g} s",
                next_step="run its producer again, then start again",
            )
        return Shard(shard.topic, state.pending)

    def _lost(self, shard: Shard, state: TopicState) -> WorkError:
        if state.gave_up is not None and state.gave_up.id == shard.upload.id and state.failed:
            return WorkError(
                f"the upload to topic {shard.topic} failed while it was read",
                seen=state.failed.reason,
                next_step="run its producer again, then start again",
            )
        other = state.pending or state.current
        return WorkError(
            f"the upload to topic {shard.topic} is no longer the dataset",
            seen=f"another one, by {other.begun.owner}" if other else "nothing is stored there now",
            next_step="start again to read what is there",
        )
