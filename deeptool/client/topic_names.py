"""Names: dataset, split and procID -> topic name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from deeptool.errors import UserError

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
CATALOG_TOPIC = "deeptool.catalog"
# Kafka's own limit: a topic is a folder of the broker, with the partition behind its name.
LONGEST_TOPIC = 249


def topic_name(session: str, proc_id: int, split: str) -> str:
    """Name the topic of one shard or variant: ``<session>.<procID>.<split>``.

    Raises
    ------
    UserError
        The split is not ``train`` or ``val``, the session has no name, or Kafka forbids it.
    """
    if split not in SPLITS:
        raise UserError("unknown split", seen=split, valid="train or val")
    if not session:
        raise UserError(
            "session_name is empty",
            valid="letters, digits, '.', '_' and '-'",
            next_step="change session_name in the settings file, or give another name",
        )
    if proc_id < 0:
        raise UserError("procID must not be negative", seen=proc_id, valid="0, 1, 2, ...")
    return check_topic(f"{session}.{proc_id}.{split}")


def variant_name(session: str, variant: int) -> str:
    """The dataset's name of a variant that is uploaded in shards: ``<session>-v<variant>``."""
    return f"{session}-v{variant}"


def parse_topic(topic: str) -> tuple[str, int, str] | None:
    """Session, procID and split of a topic that `topic_name` named; None for any other."""
    found = re.fullmatch(r"(.+)\.(0|[1-9]\d{0,9})\.(train|val)", topic)
    return (found[1], int(found[2]), found[3]) if found else None


def check_topic(topic: str) -> str:
    """Return `topic` as it is, or say which of its characters Kafka forbids.

    Raises
    ------
    UserError
        The name holds other characters than letters, digits, ``.``, ``_`` and ``-``, or is longer
        than 249 of them, or is that of the catalog.
    """
    forbidden = sorted(set(re.findall(r"[^a-zA-Z0-9._-]", topic)))
    if forbidden or not topic.strip("."):
        shown = ", ".join(repr(character) for character in forbidden)
        raise UserError(
            f"Kafka forbids this topic name{f': it holds {shown}' if shown else ''}",
            seen=topic,
            valid="letters, digits, '.', '_' and '-'",
            next_step="change session_name in the settings file, or give another name",
        )
    if len(topic) > LONGEST_TOPIC:
        raise UserError(
            f"Kafka forbids topic names longer than {LONGEST_TOPIC} characters",
            seen=f"{topic} ({len(topic)} characters)",
        )
    if topic == CATALOG_TOPIC:
        raise UserError("this topic name is reserved for the catalog", seen=topic)
    return topic


def check_collision(topic: str, existing: Iterable[str]) -> None:
    """Reject a name that Kafka takes for an existing one (``.`` and ``_`` are the same to it).

    Raises
    ------
    UserError
        An existing topic differs from `topic` only in ``.`` and ``_``.
    """
    # Kafka names its metrics after topics with '.' written as '_', and so allows one of the two.
    for other in existing:
        if other != topic and other.replace(".", "_") == topic.replace(".", "_"):
            raise UserError(
                "Kafka takes this topic for an existing one: '.' and '_' are the same to it",
                seen=f"{topic} beside {other}",
                next_step="change session_name in the settings file",
            )
