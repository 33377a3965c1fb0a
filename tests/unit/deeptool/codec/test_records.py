"""Which samples go into which record, and what its headers and digests say."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import crc32c
import numpy as np
import pytest

from deeptool.codec import batch_ends
from deeptool.codec.arrow import ArrowCodec
from deeptool.codec.records import (
    TARGET_BYTES,
    Digest,
    Record,
    RecordHeader,
    checksum,
    headers_damaged,
    pack,
    parse_headers,
)
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Leaves, Ragged
from deeptool.errors import WorkError

ROWS = Spec(Leaf("float32", (None, 3072)))


def batch(count: int, width: int = 3072) -> Leaves:
    return (np.zeros((count, width), np.float32),)


def packed(spec: Spec, batches: list[Leaves], **options: int) -> list[Record]:
    return list(pack(ArrowCodec(spec), batches, upload="u", **options))


@pytest.mark.parametrize("sizes", [[1000], [32] * 31 + [8], [1] * 1000, [999, 1], [170, 1, 829]])
def test_records_are_full_whatever_the_batches_are(sizes: list[int]) -> None:
    records = packed(ROWS, [batch(size) for size in sizes])
    assert [record.count for record in records] == [85] * 11 + [65]
    assert max(len(record.value) for record in records) <= TARGET_BYTES
    assert min(len(record.value) for record in records[:-1]) > 0.98 * TARGET_BYTES


def test_variable_sizes_fill_records_as_evenly() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, 3000, 4000)
    texts = np.array([b"x" * int(n) for n in lengths], dtype=object)
    splits = np.concatenate([[0], np.cumsum(lengths[::-1])])
    ragged = Ragged(np.zeros(splits[-1], np.float64), (splits,))
    records = packed(
        Spec((Leaf("string", (None,)), Leaf("float64", (None, None), 1))), [(texts, ragged)]
    )
    sizes = [len(record.value) for record in records]
    assert max(sizes) <= TARGET_BYTES
    assert min(sizes[:-1]) > 0.95 * TARGET_BYTES


def test_a_larger_sample_is_a_larger_record() -> None:
    records = packed(ROWS, [batch(3)], target_bytes=5000)
    assert [(record.first, record.count) for record in records] == [(0, 1), (1, 1), (2, 1)]
    assert all(len(record.value) > 3072 * 4 for record in records)


def test_empty_batches_are_no_records() -> None:
    assert packed(ROWS, [batch(0), batch(0)]) == []
    assert [r.count for r in packed(ROWS, [batch(0), batch(2), batch(0), batch(1)])] == [3]


def test_a_sample_over_the_cap_names_both_sizes_and_itself() -> None:
    spec = Spec(Leaf("string", (None,)))
    texts = np.array([b"small"] * 7 + [b"x" * 60_000], dtype=object)
    with pytest.raises(WorkError) as error:
        packed(spec, [(texts[:4],), (texts[4:],)], target_bytes=20, max_bytes=50_000)
    assert error.value.what == "sample 7 is too large for one record"
    assert error.value.seen == "60,005 bytes"
    assert error.value.valid == "at most 50,000 bytes"
    assert "get_input_pipeline" in str(error.value)


def test_what_precedes_a_sample_over_the_cap_is_named_right_when_it_waits() -> None:
    spec = Spec(Leaf("string", (None,)))
    texts = np.array([b"small"] * 7 + [b"x" * 60_000], dtype=object)
    with pytest.raises(WorkError, match="sample 7 is"):
        packed(spec, [(texts,)], target_bytes=40_000, max_bytes=50_000)


def test_open_dimensions_are_one_shape_a_record() -> None:
    spec = Spec(Leaf("float32", (None, None)))
    widths = [4, 4, 5, 5, 4]
    records = packed(spec, [batch(2, width) for width in widths])
    assert [(record.first, record.count) for record in records] == [(0, 4), (4, 4), (8, 2)]


def test_batches_of_open_shapes_stay_whole_and_their_ends_are_kept() -> None:
    spec = Spec(Leaf("float32", (None, None)))
    sizes = [16, 16, 5, 40, 3, 2000, 1]
    # The large one is a record by itself, though a record of half its size was asked for.
    records = packed(spec, [batch(size, 8) for size in sizes], target_bytes=4096)
    headers = [parse_headers(record.headers) for record in records]
    ends = [header.ends for header in headers if header is not None]
    assert ends == [(16, 32, 37, 77, 80), (2000,), (1,)]
    assert [record.batches for record in records] == [5, 1, 1]
    # One that no record can hold is continued by the next.
    cut = packed(spec, [batch(100, 64)], target_bytes=4096, max_bytes=16_000)
    headers = [parse_headers(record.headers) for record in cut]
    assert [header.ends for header in headers if header is not None][:-1] == [()] * (len(cut) - 1)
    assert [record.batches for record in cut] == [None] * (len(cut) - 1) + [1]
    # Fixed shapes are batched anew: their records need no ends.
    assert packed(ROWS, [batch(3)])[0].batches is None


@pytest.mark.parametrize("ends", [(), (1,), (8, 16, 24), (8, 16, 24, 29), (7, 8, 30)])
def test_ends_are_written_short_and_damage_is_noticed(ends: tuple[int, ...]) -> None:
    text = batch_ends.to_text(ends)
    assert batch_ends.from_text(text, 30) == ends
    for place in range(len(text)):
        flipped = bytearray(text)
        flipped[place] ^= 1
        with pytest.raises(ValueError, match=r"."):
            batch_ends.from_text(bytes(flipped), 30)
    headers = [*RecordHeader("u", 0, 0, 30, 4).to_kafka(), ("ends", text[:-1] + b"?")]
    assert parse_headers(headers) is None
    assert headers_damaged(headers)
    assert len(batch_ends.to_text(range(8, 8001, 8))) < 20


def test_ends_that_no_record_can_have_are_refused_before_memory_is_taken() -> None:
    for listed in (b"8*4000000000", b"0*5", b"31", b"8,x", b"-1"):
        with pytest.raises(ValueError, match=r"."):
            batch_ends.from_text(listed + b";%08x" % crc32c.crc32c(listed), 30)


def test_batches_are_taken_one_at_a_time() -> None:
    taken = 0

    def batches() -> Iterator[Leaves]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield batch(85)

    records = pack(ArrowCodec(ROWS), batches(), upload="u")
    next(records)
    assert taken <= 2


def test_a_record_does_not_wait_for_a_slow_pipeline_to_fill_it() -> None:
    now = 0.0

    def slowly() -> Iterator[Leaves]:
        nonlocal now
        for seconds in (0.0, 1.0, 1.0, 1.0, 0.5):
            now += seconds
            yield batch(2)

    records = pack(ArrowCodec(ROWS), slowly(), upload="u", linger_seconds=2.0, clock=lambda: now)
    assert [(record.first, record.count) for record in records] == [(0, 6), (6, 4)]


def test_headers_say_what_a_record_holds() -> None:
    records = list(pack(ArrowCodec(ROWS), [batch(100)], upload="ab-12", epoch=3))
    assert dict(records[1].headers) == {
        "v": b"1",
        "upload": b"ab-12",
        "epoch": b"3",
        "first": b"85",
        "count": b"15",
        "crc": str(records[1].crc).encode(),
        "hcrc": b"%08x" % checksum(b"1/ab-12/3/85/15/%d" % records[1].crc),
    }
    assert parse_headers(records[1].headers) == RecordHeader("ab-12", 3, 85, 15, records[1].crc)
    assert records[1].crc == checksum(records[1].value)


def test_checksums_are_crc32c() -> None:
    assert checksum(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720)
    assert checksum(b"6789", b"12345") == 0xE3069283


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("v", b"1")],
        [("v", None), ("upload", b"u")],
        [("v", b"x"), *RecordHeader("u", 0, 0, 1, 0).to_kafka()[1:]],
        [*RecordHeader("u", 0, 0, 1, 0).to_kafka()[:-1], ("crc", b"?")],
        [*RecordHeader("u", 0, 0, 1, 0).to_kafka(), ("upload", b"\xff")],
    ],
)
def test_records_of_others_have_no_header(headers: list[tuple[str, bytes | None]] | None) -> None:
    assert parse_headers(headers) is None


def test_other_headers_do_not_matter() -> None:
    header = RecordHeader("u", 1, 2, 3, 4)
    assert parse_headers([("trace", b"\xff"), *header.to_kafka(), ("x", None)]) == header


def test_a_later_format_is_an_error_and_not_a_strangers_record() -> None:
    headers = [("v", b"2"), *RecordHeader("u", 0, 0, 1, 0).to_kafka()[1:]]
    with pytest.raises(WorkError, match="another format version"):
        parse_headers(headers)


def test_a_later_format_of_another_upload_is_a_strangers() -> None:
    headers = [("v", b"2"), *RecordHeader("u", 0, 0, 1, 0).to_kafka()[1:]]
    assert parse_headers(headers, "other") is None
    with pytest.raises(WorkError, match="another format version"):
        parse_headers(headers, "u")


@pytest.mark.parametrize("earlier", [False, True])
def test_any_flipped_bit_of_the_headers_is_noticed(earlier: bool) -> None:
    upload = "0123456789abcdef0123456789abcdef"
    whole = RecordHeader(upload, 0, 7, 3, 4).to_kafka()[: 6 if earlier else 7]
    assert not headers_damaged(whole, upload)
    assert parse_headers(whole) is not None
    for number, (name, text) in enumerate(whole):
        for place in range(len(name) + len(text)):
            both = bytearray(name.encode() + text)
            both[place] ^= 1
            header = (bytes(both[: len(name)]).decode(), bytes(both[len(name) :]))
            flipped = [*whole[:number], header, *whole[number + 1 :]]
            try:
                found = parse_headers(flipped, upload)
            except WorkError:
                continue
            # Of earlier releases, a number may have become another one.
            if header[0] != name or not earlier:
                assert (found is None) == headers_damaged(flipped, upload)
                assert found is None or header[0] != name == "hcrc"
    assert not headers_damaged(whole, "x" * 32)
    assert not headers_damaged([("trace", b"1")], upload)
    assert not headers_damaged(None, upload)


def test_the_digest_is_over_what_the_catalog_documents() -> None:
    digest = Digest()
    digest.update(0, 85, 7)
    digest.update(85, 15, 2**32 - 1)
    documented = b"".join(struct.pack("<QQI", *row) for row in [(0, 85, 7), (85, 15, 2**32 - 1)])
    assert digest.hexdigest() == hashlib.sha256(documented).hexdigest()
