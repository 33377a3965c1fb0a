"""Which samples go into which Kafka record, what a record's headers say, and the digests of it."""

from __future__ import annotations

import hashlib
import math
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import ne

import crc32c
import numpy as np

from deeptool.codec import batch_ends
from deeptool.codec.protocol import Codec
from deeptool.codec.row_sizes import stored_row_bytes
from deeptool.codec.spec import Spec
from deeptool.codec.structure import MANY
from deeptool.codec.values import Leaves, concat_rows, rows, slice_rows, uniform_shape
from deeptool.errors import WorkError

FORMAT_VERSION = 1
TARGET_BYTES = 1 << 20
# Kafka's own framing (record batch, headers, key length) and the site's largest message: 64 MiB.
MAX_BYTES = (64 << 20) - (64 << 10)

# The inner shape of each leaf whose spec leaves that open.
OpenShapes = tuple[tuple[int, ...], ...]

# About what a record's schema and buffer headers take, per column.
_FRAMING = 256
# The samples of a record of very many columns take at least so many times that.
_LEAST_SHARE = 4


@dataclass(frozen=True)
class RecordHeader:
    """What the headers of a record say.

    Attributes
    ----------
    upload : str
        The id of the upload that wrote it.
    epoch, first, count : int
        Samples first, ..., first + count - 1 of that stored epoch.
    crc : int
        CRC-32C of the value (of key and value, one after the other, where there is a key).
    ends : tuple of int or None
        Before which of its rows a batch of the pipeline ended; None: not kept.
    """

    upload: str
    epoch: int
    first: int
    count: int
    crc: int
    ends: tuple[int, ...] | None = None

    def to_kafka(self) -> list[tuple[str, bytes]]:
        texts = {"v": FORMAT_VERSION, "upload": self.upload, "epoch": self.epoch}
        texts |= {"first": self.first, "count": self.count, "crc": self.crc}
        headers = {name: str(text).encode() for name, text in texts.items()}
        ends = [] if self.ends is None else [("ends", batch_ends.to_text(self.ends))]
        return [*headers.items(), ("hcrc", b"%08x" % _headers_crc(headers)), *ends]


_HEADERS = ("v", "upload", "epoch", "first", "count", "crc")


def _headers_crc(headers: Mapping[str, bytes]) -> int:
    crc: int = crc32c.crc32c(b"/".join(headers[name] for name in _HEADERS))
    return crc


def parse_headers(
    headers: Sequence[tuple[str, bytes | None]] | None, upload: str | None = None
) -> RecordHeader | None:
    """Read a record's headers; None for a record that deeptool did not write.

    None also where their own CRC is wrong, which `headers_damaged` tells apart. Records of earlier
    releases have no such CRC.

    Parameters
    ----------
    upload : str, optional
        Whose records are wanted. One of another upload may have any format version: it is treated
        as one that deeptool did not write.

    Raises
    ------
    WorkError
        A later format version wrote the record.
    """
    texts = {name: text for name, text in headers or () if text is not None}
    try:
        version = _natural(texts["v"])
        header = RecordHeader(
            texts["upload"].decode(),
            epoch=_natural(texts["epoch"]),
            first=_natural(texts["first"]),
            count=_natural(texts["count"]),
            crc=_natural(texts["crc"]),
        )
    except (KeyError, ValueError):
        return None
    if version != FORMAT_VERSION:
        if upload not in (None, header.upload):
            return None
        raise WorkError(
            "a stored record has another format version",
            seen=version,
            valid=str(FORMAT_VERSION),
            next_step="update deeptool, or upload the dataset again",
        )
    if "hcrc" in texts and texts["hcrc"] != b"%08x" % _headers_crc(texts):
        return None
    if "ends" in texts:
        try:
            return replace(header, ends=batch_ends.from_text(texts["ends"], header.count))
        except ValueError:
            return None
    return header


def headers_damaged(
    headers: Sequence[tuple[str, bytes | None]] | None, upload: str | None = None
) -> bool:
    """Whether these headers are deeptool's, but not as they were written.

    Parameters
    ----------
    upload : str, optional
        Only those of its records count; a few bytes of the id may be damaged too. Without this, a
        damaged record would be passed over like a stranger's.
    """
    texts = {name: text for name, text in headers or () if text is not None}
    # Any header: the name of that one may be what is damaged.
    if upload is not None and not any(_nearly(text, upload.encode()) for text in texts.values()):
        return False
    try:
        if "ends" in texts:
            batch_ends.from_text(texts["ends"], _natural(texts["count"]))
        return texts["hcrc"] != b"%08x" % _headers_crc(texts)
    except ValueError:
        return True
    except KeyError:
        return len(texts.keys() & set(_HEADERS)) == len(_HEADERS) - 1


def _nearly(seen: bytes, wanted: bytes) -> bool:
    return len(seen) == len(wanted) and sum(map(ne, seen, wanted)) <= 2


def _natural(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise ValueError(f"{text!r} is no number of a header")
    return int(text)


@dataclass(frozen=True)
class Record:
    """One Kafka record, ready to be sent.

    Attributes
    ----------
    key : bytes or None
    value : bytes
    headers : list of (str, bytes)
    first, count : int
        The samples it holds, counted within the epoch.
    crc : int
        See `RecordHeader`.
    batches : int or None
        How many batches of the pipeline it holds; None: that was not kept, or the last one is
        continued by the next record, so that a shuffled pass gives it in parts.
    open_shapes : tuple of tuple of int
        The inner shapes that the spec leaves open, as all of its samples have them.
    row_bytes : int
        The sum over its samples of `deeptool.codec.row_sizes.stored_row_bytes`.
    """

    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    first: int
    count: int
    crc: int
    batches: int | None = None
    open_shapes: OpenShapes = ()
    row_bytes: int = 0


def checksum(value: bytes, key: bytes | None = None) -> int:
    """CRC-32C of key and value, one after the other."""
    crc: int = crc32c.crc32c(value, crc32c.crc32c(key) if key else 0)
    return crc


class Digest:
    """SHA-256 over (first sample index, sample count, CRC-32C) of the records of one partition."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, first: int, count: int, crc: int) -> None:
        """Take in the next record, in the order of offsets."""
        self._hash.update(struct.pack("<QQI", first, count, crc))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def pack(
    codec: Codec,
    batches: Iterable[Leaves],
    *,
    upload: str,
    epoch: int = 0,
    target_bytes: int = TARGET_BYTES,
    max_bytes: int = MAX_BYTES,
    linger_seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Record]:
    """Cut batches into records of at most about `target_bytes`, in the order of samples.

    Larger batches are split, smaller ones are joined; a sample that is larger alone makes a larger
    record. A record also ends where a batch comes `linger_seconds` after the record's first one.

    Batches with open dimensions cannot be made anew: their ends are kept in the headers, and they
    stay whole up to `max_bytes`. Where their inner shapes change, a record ends.

    Parameters
    ----------
    codec : Codec
    batches : iterable of Leaves
        All samples of one epoch; they are looked at one batch at a time.
    upload : str
        For the headers, as is `epoch`.
    target_bytes, max_bytes : int
        Of a record's key and value, before compression.
    linger_seconds : float
        By `clock`.

    Raises
    ------
    WorkError
        One sample alone is larger than `max_bytes`.
    """
    framing = _FRAMING * (1 + codec.columns)
    longest = max_bytes - framing
    target_bytes = min(target_bytes, max_bytes) - framing
    if codec.columns >= MANY:
        # Or records would hold little else than what surrounds the data.
        target_bytes = max(target_bytes, min(_LEAST_SHARE * framing, longest))
    kept_whole = codec.samples_per_record is None and bool(codec.spec.open_paths)
    waiting: list[Leaves] = []
    ends: list[int] = []
    waiting_bytes = waiting_rows = first = 0
    since = 0.0

    def flush() -> Iterator[Record]:
        nonlocal waiting_bytes, waiting_rows, first
        if waiting:
            leaves = concat_rows(waiting)
            kept = tuple(ends) if kept_whole else None
            yield _record(codec, leaves, waiting_bytes, upload, epoch, first, max_bytes, kept)
            first += rows(leaves)
        waiting.clear()
        ends.clear()
        waiting_bytes = waiting_rows = 0

    for batch in batches:
        if waiting and _open_shapes(codec.spec, batch) != _open_shapes(codec.spec, waiting[0]):
            yield from flush()
        # By estimates, because a batch is encoded once it is known which of its rows go together.
        sums = np.cumsum(stored_row_bytes(batch))
        start = 0
        while start < len(sums):
            before = int(sums[start - 1]) if start else 0
            room = before + target_bytes - waiting_bytes
            stop = int(np.searchsorted(sums, room, side="right"))
            if kept_whole and stop < len(sums) and int(sums[-1]) <= longest:
                stop = 0 if waiting else len(sums)
            if stop <= start and waiting:
                # Not one more row fits: try again with an empty record.
                yield from flush()
                continue
            stop = max(stop, start + 1)
            if codec.samples_per_record is not None:
                stop = min(stop, start + codec.samples_per_record)
            _check_size(int(sums[stop - 1]) - before, max_bytes, first)
            since = since if waiting else clock()
            waiting.append(slice_rows(batch, start, stop))
            waiting_bytes += int(sums[stop - 1]) - before
            waiting_rows += stop - start
            if stop == len(sums):
                ends.append(waiting_rows)
            if codec.samples_per_record is not None or stop < len(sums):
                yield from flush()
            start = stop
        if waiting and clock() - since >= linger_seconds:
            yield from flush()
    yield from flush()


def _record(
    codec: Codec,
    leaves: Leaves,
    row_bytes: int,
    upload: str,
    epoch: int,
    first: int,
    max_bytes: int,
    ends: tuple[int, ...] | None,
) -> Record:
    key, value = codec.to_record(leaves)
    count = rows(leaves)
    _check_size(len(value) + len(key or b""), max_bytes, first)
    header = RecordHeader(upload, epoch, first, count, checksum(value, key), ends)
    batches = len(ends) if ends is not None and ends[-1:] == (count,) else None
    shapes = tuple(_open_shapes(codec.spec, leaves))
    headers = header.to_kafka()
    return Record(key, value, headers, first, count, header.crc, batches, shapes, row_bytes)


def _check_size(size: int, max_bytes: int, first: int) -> None:
    if size > max_bytes:
        raise WorkError(
            f"sample {first} is too large for one record",
            seen=f"{size:,} bytes",
            valid=f"at most {max_bytes:,} bytes",
            next_step="make samples smaller in get_input_pipeline: crop or downscale them, split "
            "them into several samples, or use a smaller dtype (uint8, bfloat16)",
        )


def _open_shapes(spec: Spec, leaves: Leaves) -> list[tuple[int, ...]]:
    """The inner shapes that the spec leaves open: uniform within a record."""
    return [
        uniform_shape(value)
        for value, leaf in zip(leaves, spec.leaves, strict=True)
        if None in leaf.inner
    ]
