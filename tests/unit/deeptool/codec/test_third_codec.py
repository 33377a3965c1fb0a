"""A codec is one module and one line in the registry: everything else asks the codec itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from deeptool.codec import CODECS, DEFAULT_CODEC, make_codec
from deeptool.codec.records import RecordHeader, pack, parse_headers
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.codec.values import Ragged, concat_rows, rows
from deeptool.errors import WorkError
from deeptool.rows.element_form import ElementForm
from deeptool.rows.pass_rows import decoder_for
from deeptool.rows.record_order import Samples

SPEC = Spec(
    {
        "x": Leaf("float32", (None, 3)),
        "steps": Leaf("int64", (None, None), ragged_rank=1),
        "wide": Leaf("int16", (None, None)),
    }
)


def batch(first: int, count: int) -> tuple[np.ndarray | Ragged, ...]:
    numbers = np.arange(first, first + count)
    splits = np.concatenate([[0], np.cumsum(numbers % 3)])
    return (
        Ragged(np.arange(splits[-1]), (splits,)),
        np.outer(numbers, [1, 10]).astype(np.int16),
        np.repeat(numbers[:, None], 3, axis=1).astype(np.float32),
    )


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "npz", "npz_codec:NpzCodec")


def test_every_codec_knows_its_own_name() -> None:
    assert DEFAULT_CODEC in CODECS
    for name in CODECS:
        assert make_codec(name, SPEC).name == name


@pytest.mark.parametrize("name", ["arrow", "npz"])
def test_its_records_hold_all_samples_in_order(name: str) -> None:
    codec = make_codec(name, SPEC)
    records = list(pack(codec, [batch(0, 50), batch(50, 7)], upload="u", target_bytes=2000))
    assert len(records) > 1
    decoded = [codec.decode(record.value, record.key) for record in records]
    for seen, sent in zip(concat_rows(decoded), batch(0, 57), strict=True):
        if isinstance(seen, Ragged) and isinstance(sent, Ragged):
            assert np.array_equal(np.diff(seen.row_splits[0]), np.diff(sent.row_splits[0]))
        else:
            assert np.array_equal(seen, sent)  # type: ignore[arg-type]


def test_readers_make_rows_of_its_records() -> None:
    codec = make_codec("npz", SPEC)
    decoder = decoder_for(
        ElementForm(codec, batch_size=4, drop_remainder=False, as_stored=False, padding={"wide": 0})
    )
    record, *_ = pack(codec, [batch(0, 20)], upload="u")
    header = parse_headers(record.headers)
    assert isinstance(header, RecordHeader)
    leaves = decoder.rows([Samples(record.key, record.value, header.first, 5, 12)])
    assert rows(leaves) == 7
    # Open dimensions are ragged on the way, so that rows of several records fit in one batch.
    wide = leaves[1]
    assert isinstance(wide, Ragged)
    assert np.array_equal(wide.flat_values.reshape(7, 2)[:, 0], np.arange(5, 12))


@pytest.mark.parametrize("name", ["arrow", "npz", "example"])
@pytest.mark.parametrize("damaged", [b"", b"PK\x03\x04", b"\xff" * 64])
def test_a_damaged_record_is_no_other_error(name: str, damaged: bytes) -> None:
    with pytest.raises(WorkError):
        make_codec(name, SPEC).decode(damaged)


def test_no_module_goes_by_the_name_of_a_codec() -> None:
    """`codec == "arrow"` and the like: what has to be known is a question to the codec."""
    for file in (ROOT / "deeptool").rglob("*.py"):
        text = Path(file).read_text()
        named = [line for line in text.splitlines() if "codec" in line.lower() and "==" in line]
        assert not [line for line in named if '"arrow"' in line or '"example"' in line], file
        if file.parent.name != "codec":
            assert not [name for name in ("ArrowCodec", "ExampleCodec") if name in text], file
