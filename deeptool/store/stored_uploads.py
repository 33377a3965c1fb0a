"""Which complete uploads a name stands for, and what their check means as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deeptool.catalog.fold import Catalog, TopicState, Upload
from deeptool.client.topic_names import parse_topic
from deeptool.errors import UserError, WorkError
from deeptool.store.check import Checked, Damage


def complete_topics(
    catalog: Catalog, name: str, proc_id: int | None = None, split: str | None = None
) -> list[str]:
    """The topics that hold a complete dataset of this name, or the one topic of this name.

    Raises
    ------
    UserError
        There is none.
    """
    complete = {t: s.current.begun for t, s in catalog.items() if s.current is not None}
    topics = [
        topic
        for topic, begun in sorted(complete.items())
        if name in (begun.session, topic)
        and proc_id in (None, begun.proc_id)
        and split in (None, begun.split)
    ]
    if not topics:
        raise UserError(
            "no complete dataset is stored under this name",
            seen=name,
            valid=", ".join(sorted({begun.session for begun in complete.values()})) or None,
            next_step="deeptool inspect lists what is stored",
        )
    return topics


def damaged_in_catalog(
    catalog: Catalog, name: str, proc_id: int | None = None, split: str | None = None
) -> list[Checked]:
    """What a check says of the topics of this name of which the catalog is damaged."""
    found = []
    for topic, state in sorted(catalog.items()):
        upload = state.current or state.pending
        begun = upload.begun if upload else None
        place = parse_topic(topic) or (topic, None, None)
        if begun is not None:
            place = (begun.session, begun.proc_id, begun.split)
        wanted = name in (place[0], topic) and proc_id in (None, place[1])
        if state.damaged and wanted and split in (None, place[2]):
            lost = next((bad.upload for bad in state.damaged if bad.upload), "")
            damages = tuple(Damage(None, None, None, str(bad)) for bad in state.damaged)
            found.append(Checked(topic, lost, 0, 0, 0, damages, 0.0))
    return found


def complete_uploads(catalog: Catalog, topics: Iterable[str]) -> list[Upload]:
    """The complete upload of each of these topics.

    Raises
    ------
    UserError
        A topic holds no complete dataset.
    """
    uploads = []
    for topic in topics:
        upload = catalog.get(topic, TopicState()).current
        if upload is None:
            raise UserError(
                f"topic {topic} holds no complete dataset",
                next_step="deeptool inspect lists what is stored",
            )
        uploads.append(upload)
    return uploads


def raise_if_damaged(
    found: Sequence[Checked], next_step: str = "upload them again: deeptool produce --replace"
) -> None:
    """Fail if a check found damage.

    Raises
    ------
    WorkError
        Names the topics.
    """
    damaged = [checked for checked in found if checked.damages]
    if damaged:
        raise WorkError(
            "stored samples are damaged",
            seen=", ".join(
                f"{checked.topic}: {len(checked.damages)} places" for checked in damaged
            ),
            next_step=next_step,
        )
