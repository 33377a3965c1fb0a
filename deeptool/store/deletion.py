"""Deletion of stored datasets: which topics, and in which order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.catalog.claim import Waiting, clean_up, watch_pending
from deeptool.catalog.damage import damaged_topic
from deeptool.catalog.events import Deleted, Failed
from deeptool.catalog.fold import Catalog, TopicState
from deeptool.client import admin
from deeptool.errors import WorkError


def topics_to_delete(
    catalog: Catalog, name: str, proc_id: int | None, splits: Iterable[str]
) -> dict[str, TopicState]:
    """The topics of a dataset, those that are empty by now included, or the one topic `name`."""
    if name in catalog:
        return {name: catalog[name]}
    found = {}
    for topic, state in catalog.items():
        # Their names tell: the catalog no longer says what an empty topic held.
        session, *rest = topic.rsplit(".", 2)
        of_session = session == name and len(rest) == 2 and rest[1] in splits
        if of_session and (proc_id is None or rest[0] == str(proc_id)):
            found[topic] = state
    return dict(sorted(found.items()))


def check_undamaged(states: Mapping[str, TopicState]) -> None:
    """Return if the catalog can say what each of these topics holds.

    Raises
    ------
    UserError
        It is damaged, and only the user can say whether what a topic holds is still wanted.
    """
    for topic, state in states.items():
        if state.damaged:
            raise damaged_topic(topic, state)


def await_silence(
    log: CatalogLog, states: Iterable[TopicState], on_wait: Waiting | None = None
) -> None:
    """Return once no upload to these topics is alive.

    Raises
    ------
    UserError
        One is: it must be stopped first.
    """
    for state in states:
        if state.pending is not None:
            watch_pending(log, state.pending, on_wait)


def delete_stored(log: CatalogLog, topic: str, shown: TopicState) -> int:
    """Delete what a topic was shown to hold: its dataset, and an upload that was found dead.

    Where the catalog is damaged, the damage is settled too: call it on the user's word only.

    The catalog says first that the dataset is gone, so that nobody begins to read it. An
    interrupted deletion is finished by the next one or by the next upload. The topic itself stays,
    empty: in a new topic offsets would start at 0 again, and a trial that is still reading the old
    dataset would get another's records, where it now gets an error.

    Returns
    -------
    int
        Bytes of the record values of the dataset, before compression.

    Raises
    ------
    WorkError
        Another dataset took its place meanwhile.
    """
    if shown.pending is not None:
        reason = "it was silent, and its topic was deleted"
        log.append(Failed(topic, shown.pending.id, reason, time.time()))
    if shown.current is not None:
        log.append(Deleted(topic, shown.current.id, time.time()))
    if shown.damaged:
        upload = next((bad.upload for bad in shown.damaged if bad.upload), "unknown")
        settled = tuple(bad.offset for bad in shown.damaged)
        log.append(Deleted(topic, upload, time.time(), damaged=settled))
    current = log.read().get(topic, TopicState()).current
    if current is not None:
        raise WorkError(
            f"topic {topic} got another dataset meanwhile, which was not deleted",
            seen=f"upload {current.id} by {current.begun.owner}",
            next_step="deeptool inspect lists what is stored",
        )
    if admin.partitions(log.connection, topic):
        clean_up(log.connection, log, topic)
    return shown.current.bytes if shown.current else 0
