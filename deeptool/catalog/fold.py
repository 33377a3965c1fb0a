"""What is stored, as a pure fold over the catalog's events: no clock, no I/O, one answer for all.

Compaction may remove any `Progressed` that a later one of the same upload follows, and nothing else
(see `events.record_key`). So the fold keeps a progress only while its upload is pending, where the
last one decides. `CatalogLog` folds what it reads, as far as it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deeptool.catalog.bad_record import BadRecord
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
    damaged : tuple of BadRecord
        Records that may have begun or completed an upload to this topic, and cannot be read. What
        they told of may be a dataset: nothing of the topic is deleted without the user's word.
    outlived : frozenset of int
        Offsets of the damaged records before the pending upload began. Its producer could still
        read them, or it would not have begun; if it completes, they matter no more.
    seen : frozenset of str
        All uploads that ever began: an event that was appended twice revives none of them.
    """

    current: Upload | None = None
    pending: Upload | None = None
    gave_up: Upload | None = None
    damaged: tuple[BadRecord, ...] = ()
    outlived: frozenset[int] = field(default=frozenset(), repr=False)
    seen: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def failed(self) -> Failed | None:
        """How the last upload that gave up did so, until another begins."""
        return self.gave_up.failed if self.gave_up else None


Catalog = Mapping[str, TopicState]


# Events that a topic without a dataset has, too.
_MAKE_NO_DATASET = (Progressed.event, Failed.event, Deleted.event)
# Of one topic: one is enough to protect it, more are only told.
_MOST_DAMAGED = 100


def apply_event(state: TopicState, event: Event | BadRecord) -> TopicState:
    """The state of a topic after one more of its events, or one that cannot be read."""
    if isinstance(event, BadRecord):
        # One that ended an upload, or told how far it came, made no dataset.
        if event.event in _MAKE_NO_DATASET or len(state.damaged) >= _MOST_DAMAGED:
            return state
        return replace(state, damaged=(*state.damaged, event))
    if isinstance(event, Begun):
        # Appended twice, as after an answer that was lost: the second one means nothing.
        if event.upload in state.seen:
            return state
        state = replace(state, seen=state.seen | {event.upload})
        # The first claim in the log wins, unless a later one names the upload that it takes over.
        # One that may have completed leaves the topic free, as it did when that could be read.
        free = (
            state.pending is None
            or event.takes_over == state.pending.id
            or state.pending.id in {bad.upload for bad in state.damaged}
        )
        if free and (state.current is None or event.replace):
            state = _without_damage(state, lambda bad: _tells_of(bad, event))
            outlived = frozenset(bad.offset for bad in state.damaged)
            return replace(state, pending=Upload(event), gave_up=None, outlived=outlived)
        return state
    if isinstance(event, Deleted):
        settled = set(event.damaged)
        state = _without_damage(
            state, lambda bad: bad.upload == event.upload or bad.offset in settled
        )
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
    ended = replace(ended, current=Upload(state.pending.begun, completed=event))
    return _without_damage(
        ended, lambda bad: bad.upload == event.upload or bad.offset in state.outlived
    )


def _tells_of(bad: BadRecord, event: Event) -> bool:
    """Whether a damaged record was this event, which was appended twice."""
    return (bad.upload, bad.event) == (event.upload, event.event)


def _without_damage(state: TopicState, settled: Callable[[BadRecord], bool]) -> TopicState:
    if not state.damaged:
        return state
    return replace(state, damaged=tuple(bad for bad in state.damaged if not settled(bad)))


def fold(
    events: Iterable[Event | BadRecord], catalog: Catalog | None = None
) -> dict[str, TopicState]:
    """What is stored after `events`, in the order of the log, per topic.

    Parameters
    ----------
    events : iterable of Event or BadRecord
        Of bad records, those of which nobody knows what they concern change nothing.
    catalog : mapping of str to TopicState, optional
        What the events before them came to; left as it is. Nothing by default.
    """
    folded = dict(catalog or {})
    for event in events:
        if event.topic is None:
            continue
        folded[event.topic] = apply_event(folded.get(event.topic, TopicState()), event)
    return folded
