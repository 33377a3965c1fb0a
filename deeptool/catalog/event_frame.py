"""The bytes of an event: JSON that ends with a CRC-32C of what is before it."""

from __future__ import annotations

import json
import re
from typing import Any

import crc32c
import numpy as np

from deeptool.catalog.event_schema import MalformedEvent

# More than any event needs, and few enough that what walks through one by recursion comes back.
DEEPEST = 64
MAX_EVENT_BYTES = 64 << 20
_AT_ONCE = 1 << 20
_SEAL = re.compile(rb', "crc": "([0-9a-f]{8})"\}\Z')
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def seal(text: bytes) -> bytes:
    """A JSON object with its own CRC as its last field: ``"crc": "0a1b2c3d"``.

    The CRC is that of all bytes before the comma in front of it.
    """
    body = text[:-1]
    return body + b', "crc": "%08x"}' % crc32c.crc32c(body)


def unsealed(data: bytes | None) -> tuple[dict[str, Any], bool]:
    """The fields of a JSON object, and whether a CRC vouches for them.

    Events of earlier releases have none.

    Raises
    ------
    MalformedEvent
        It is no JSON object, nested deeper than any event is, or its CRC is wrong.
    """
    if not data:
        raise MalformedEvent("it is empty")
    if len(data) > MAX_EVENT_BYTES:
        raise MalformedEvent(f"it has {len(data)} bytes, more than {MAX_EVENT_BYTES}")
    found = _SEAL.search(data)
    if found is not None and int(found[1], 16) != crc32c.crc32c(data[: found.start()]):
        raise MalformedEvent("its checksum is wrong")
    if data[:1] != b"{" or _depth(data) > DEEPEST:
        raise MalformedEvent(f"it is not a JSON object of at most {DEEPEST} levels")
    try:
        values = json.loads(data.decode())
    # A number of many digits is a ValueError too.
    except (ValueError, RecursionError) as error:
        raise MalformedEvent(f"it is not JSON: {error}") from None
    if found is None and "crc" in values:
        raise MalformedEvent("its checksum is not where it should be")
    return values, found is not None


def _depth(data: bytes) -> int:
    """How deep brackets are nested, without those in texts.

    Before anything parses it: parsers are recursive, and how deep they can go differs.
    """
    signs = np.frombuffer(_TEXT.sub(b"", data), dtype=np.uint8)
    depth = deepest = 0
    for start in range(0, len(signs), _AT_ONCE):
        part = signs[start : start + _AT_ONCE]
        opens, closes = np.isin(part, (0x5B, 0x7B)), np.isin(part, (0x5D, 0x7D))
        depths = depth + np.cumsum(opens.astype(np.int64) - closes)
        depth, deepest = int(depths[-1]), max(deepest, int(depths.max()))
    return deepest
