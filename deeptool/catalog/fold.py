"""What is stored, as a pure fold over the catalog's events: no clock, no I/O, one answer for all.

Compaction may remove any `Progressed` that a later one of the same upload follows, and nothing else
(see `events.record_key`). So the fold keeps a progress only while its upload is pending, where the
last one decides. `CatalogLog` folds what it reads, as far as it has read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deeptool.catalog.events import Begun, Completed, Deleted, Event, Failed, Progressed


@dataclass(frozen=True)
class Upload:
    """One upload as far as the log tells.

    Attributes
    ----------
    begun : Begun
        What it is to become.
    progress : Progressed or None
        The last sign of life, while it is pending.
    completed : Completed or None
        Its commit.
    failed : Failed or None
        How it gave up.
    """

    begun: Begun
    progress: Progressed | None = None
    completed: Completed | None = None
    failed: Failed | None = None

    @property
    def id(self) -> str:
        return self.begun.upload

    @property
    def samples(self) -> int:
        """Samples of all epochs once complete, else as many as the last progress said."""
        if self.completed is not None:
            return sum(epoch.samples for epoch in self.completed.epochs)
        return self.progress.samples if self.progress else 0

    @property
    def bytes(self) -> int:
        """As `samples`: bytes of the record values, before compression."""
        if self.completed is not None:
            return sum(epoch.bytes for epoch in self.completed.epochs)
        return self.progress.bytes if self.progress else 0

    @property
    def data_hparams(self) -> Mapping[str, Any]:
        """The hparams that the pipeline read; while it is pending, those known when it began."""
        return (self.completed or self.begun).data_hparams

    def first_offset(self, partition: int) -> int:
        """No record of this upload is below this offset."""
        runs = [
            start
            for epoch in (self.completed.epochs if self.completed else ())
            for start, _ in epoch.runs.get(partition, ())
        ]
        return min(runs) if runs else self.begun.start.get(partition, 0)


@dataclass(frozen=True)
class TopicState:
    """What one topic holds.

    Attributes
    ----------
    current : Upload or None
        The last complete upload: the dataset.
    pending : Upload or None
        The upload under way.
    gave_up : Upload or None
        The last upload, if it failed and no other has begun since.
    seen : frozenset of str
        All uploads that ever began: an event that was appended twice revives none of them.
    """

    current: Upload | None = None
    pending: Upload | None = None
    gave_up: Upload | None = None
    seen: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def failed(self) -> Failed | None:
        """How the last upload that gave up did so, until another begins."""
        return self.gave_up.failed if self.gave_up else None


Catalog = Mapping[str, TopicState]


def apply_event(state: TopicState, event: Event) -> TopicState:
    """The state of a topic after one more of its events."""
    if isinstance(event, Begun):
        # Appended twice, as after an answer that was lost: the second one means nothing.
        if event.upload in state.seen:
            return state
        state = replace(state, seen=state.seen | {event.upload})
        # The first claim in the log wins, unless a later one names the upload that it takes over.
        free = state.pending is None or event.takes_over == state.pending.id
        if free and (state.current is None or event.replace):
            return replace(state, pending=Upload(event), gave_up=None)
        return state
    if isinstance(event, Deleted):
        if state.current is not None and state.current.id == event.upload:
            return replace(state, current=None)
        return state
    # From here on only the pending upload counts: one that lost its topic writes events until it
    # learns of it.
    if state.pending is None or state.pending.id != event.upload:
        return state
    if isinstance(event, Progressed):
        return replace(state, pending=replace(state.pending, progress=event))
    ended = replace(state, pending=None, gave_up=None)
    if isinstance(event, Failed):
        return replace(ended, gave_up=replace(state.pending, progress=None, failed=event))
    return replace(ended, current=Upload(state.pending.begun, completed=event))


def fold(events: Iterable[Event], catalog: Catalog | None = None) -> dict[str, TopicState]:
    """What is stored after `events`, in the order of the log, per topic.

    Parameters
    ----------
    events : iterable of Event
    catalog : mapping of str to TopicState, optional
        What the events before them came to; left as it is. Nothing by default.
    """
    folded = dict(catalog or {})
    for event in events:
        folded[event.topic] = apply_event(folded.get(event.topic, TopicState()), event)
    return folded
