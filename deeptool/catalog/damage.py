"""What follows where the catalog is damaged: what a topic may hold is kept, and nobody guesses."""

from __future__ import annotations

from collections.abc import Sequence

from deeptool.catalog.fold import Catalog, TopicState
from deeptool.client.topic_names import CATALOG_TOPIC, parse_topic
from deeptool.errors import UserError, WorkError


def damaged_topic(topic: str, state: TopicState) -> UserError:
    """The error where a topic may hold a dataset that the catalog can no longer describe.

    What it holds is kept: nobody but the user can say that it is not wanted any more.
    """
    return UserError(
        f"the catalog is damaged where it tells of topic {topic}",
        seen="; ".join(map(str, state.damaged[:3])),
        valid="a topic without damage: nothing that may be a dataset is deleted by itself",
        next_step=f"deeptool delete --damaged {topic} deletes what the topic holds, then upload"
        " again; or give another session_name",
    )


def unreadable_catalog(offset: int, reason: str) -> WorkError:
    """The error where the broker cannot read the catalog's log from an offset on.

    It is not skipped: nobody knows which datasets the events behind it tell of.
    """
    return WorkError(
        "the catalog is damaged: the broker cannot read its log any more",
        seen=f"offset {offset} of partition 0 of topic {CATALOG_TOPIC}: {reason}",
        valid="a log that can be read to its end: it says which records are datasets",
        next_step="restore the broker's folder from a copy made before the damage, or upload again"
        " to a broker on a new folder (deeptool-hpc broker up --dir NEW)",
    )


def check_legible(
    catalog: Catalog, session: str, split: str, proc_ids: int | Sequence[int] | None
) -> None:
    """Return if no part of a dataset is lost to a damaged catalog: waiting does not bring it.

    Parameters
    ----------
    proc_ids : int, sequence of int or None
        The parts that are wanted; None: all.

    Raises
    ------
    UserError
        Names the topic and what is damaged.
    """
    wanted = [proc_ids] if isinstance(proc_ids, int) else proc_ids
    for topic, state in sorted(catalog.items()):
        name, proc_id, of = parse_topic(topic) or (topic, -1, "")
        lost = bool(state.damaged) and state.current is None
        if lost and (name, of) == (session, split) and (wanted is None or proc_id in wanted):
            raise damaged_topic(topic, state)
