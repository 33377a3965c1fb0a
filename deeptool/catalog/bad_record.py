"""Records of the catalog that are no events, and what they concern as far as that is legible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeptool.catalog.event_schema import FIELDS

_TOPIC = "[a-zA-Z0-9._-]{1,249}"
_KEY = re.compile(rf"({_TOPIC})/([^/]{{1,1024}})/([^/]*)(/[^/]*)?")
_IN_TEXT = {
    "topic": re.compile(rf'"topic": ?"({_TOPIC})"'),
    "upload": re.compile(r'"upload": ?"([^"\\]{1,1024})"'),
    "event": re.compile(r'"event": ?"(\w+)"'),
}


@dataclass(frozen=True)
class BadRecord:
    """A record of the catalog that is no event: damaged, malformed, or a stranger's.

    Attributes
    ----------
    offset : int
        Where it lies in the catalog.
    reason : str
        What is wrong with it; may quote it.
    topic, upload, event : str or None
        What it concerns, as far as its key or its value can be read; a topic has a legal name.
    """

    offset: int
    reason: str
    topic: str | None = None
    upload: str | None = None
    event: str | None = None

    def __str__(self) -> str:
        kind = f"'{self.event}'" if self.event else "a record"
        of = f" of upload {self.upload}" if self.upload else ""
        return f"offset {self.offset} of the catalog, {kind}{of}: {self.reason}"


def concerned(
    key: bytes | None, values: Mapping[str, Any], data: bytes
) -> tuple[str | None, str | None, str | None]:
    """Topic, upload and event of a record, from its key, else from what can be read of its value.

    The key is a second copy of the three: where one of them is damaged, the other is not.
    """
    found = _KEY.fullmatch((key or b"").decode("utf-8", "replace"))
    named: tuple[Any, Any, Any]
    if found is not None:
        named = (found[1], found[2], found[3])
    elif values:
        named = (values.get("topic"), values.get("upload"), values.get("event"))
    else:
        text = data[: 1 << 20].decode("utf-8", "replace")
        matches = (pattern.search(text) for pattern in _IN_TEXT.values())
        named = tuple(match[1] if match else None for match in matches)  # type: ignore[assignment]
    topic, upload, event = (name if isinstance(name, str) else None for name in named)
    if topic is None or not re.fullmatch(_TOPIC, topic):
        return None, None, None
    return topic, upload[:1024] if upload else None, event if event in FIELDS else None
