"""Where the batches of a pipeline end within a record: the text of the header ``ends``.

Written where batches cannot be made anew, because samples leave dimensions open. The text lists
the rows from one end to the next, equal ones once: ``8*125,5`` says 125 batches of 8 and one of 5.
A record whose last row ends no batch is continued by the next one. A CRC of its own follows: the
header ``hcrc`` covers what all releases write.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import crc32c

_MOST_DIGITS = 19


def to_text(ends: Sequence[int]) -> bytes:
    """The header of a record whose batches end before the rows `ends`, ascending."""
    sizes = [stop - start for start, stop in pairwise([0, *ends])]
    runs = [(size, sum(1 for _ in same)) for size, same in groupby(sizes)]
    text = ",".join(f"{size}*{times}" if times > 1 else str(size) for size, times in runs)
    return f"{text};{crc32c.crc32c(text.encode()):08x}".encode()


def from_text(text: bytes, count: int) -> tuple[int, ...]:
    """The ends that `to_text` was given.

    Parameters
    ----------
    count : int
        Rows of the record.

    Raises
    ------
    ValueError
        The text is damaged, or does not fit so many rows.
    """
    listed, _, crc = text.partition(b";")
    if crc != f"{crc32c.crc32c(listed):08x}".encode():
        raise ValueError("the CRC of the header 'ends' is wrong")
    ends: list[int] = []
    for run in listed.split(b",") if listed else ():
        size, times = (_natural(number) for number in (run.split(b"*") + [b"1"])[:2])
        begin = ends[-1] if ends else 0
        # Before anything is made of it: a record has no more batches than rows.
        if not (size and times) or begin + size * times > count:
            raise ValueError(f"{run!r} ends behind row {count}")
        ends.extend(range(begin + size, begin + size * times + 1, size))
    return tuple(ends)


def _natural(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        raise ValueError(f"{text!r} is no number of rows")
    return int(text)
