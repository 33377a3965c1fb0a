"""A seal ends in a whole sealed dataset or in nothing: killed, on a full disk, beside another."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from memory_store import MemoryStore
from paths import ROOT
from seal_process import FORMS, batches, filled_store

import deeptool
from deeptool.codec.records import checksum
from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.progress import Progress
from deeptool.sealed.new_folder import new_folder
from deeptool.sealed.seal import seal, uploads_to_seal
from deeptool.store.record_store import Lane

SCRIPT = ROOT / "tests/helpers/seal_process.py"
NUMBERS = list(range(400))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "shared" / "digits"


def sealed(store: MemoryStore, target: Path, **options: bool) -> None:
    seal(store, "s", uploads_to_seal(store.catalog(), "s"), target, **options)


def read(target: Path) -> list[int]:
    data = deeptool.open(target, split="train")
    return [int(number) for _, numbers in data.numpy() for number in numbers]


def start(*argv: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, argv)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "sealing\n"
    return process


def run(*argv: object) -> tuple[int, str]:
    process = start(*argv)
    output = process.communicate(timeout=60)[0]
    return process.returncode, output


def killed_at(moments: Iterator[float], target: Path, *options: str) -> None:
    """Kill a seal at each of these moments: what is there is whole, and it can be sealed again."""
    for moment in moments:
        process = start(target, "ragged", *options)
        time.sleep(moment)
        process.kill()
        process.wait()
        if target.exists():
            assert read(target) == NUMBERS
        assert not [path for path in target.parent.iterdir() if path.name[0] != "."] or (
            target.exists()
        )
        with pytest.raises(UserError, match=r"no sealed dataset|no such sealed dataset"):
            deeptool.open(target.parent)


def test_a_seal_that_is_killed_leaves_nothing_that_the_next_one_does_not_remove(
    target: Path,
) -> None:
    source = random.Random(1)
    killed_at((source.random() * 0.6 for _ in range(3)), target)
    assert run(target, "ragged", "--replace")[0] == 0
    assert read(target) == NUMBERS
    assert os.listdir(target.parent) == ["digits"]
    # Nor is the old dataset lost before the new one is whole.
    killed_at((source.random() * 0.6 for _ in range(2)), target, "--replace")
    assert read(target) == NUMBERS
    assert run(target, "ragged", "--replace")[0] == 0
    assert os.listdir(target.parent) == ["digits"]


@pytest.mark.soak
def test_a_seal_is_killed_at_many_moments(target: Path) -> None:
    source = random.Random(2)
    for _ in range(10):
        killed_at((source.random() * 0.8 for _ in range(10)), target, "--replace")
        assert run(target, "ragged", "--replace")[0] == 0
        assert read(target) == NUMBERS
        assert os.listdir(target.parent) == ["digits"]


@pytest.mark.parametrize("form", ["fixed", "ragged"])
def test_a_full_disk_leaves_nothing(target: Path, form: str) -> None:
    code, output = run(target, form, 60_000)
    assert code == 1
    assert "the sealed dataset could not be written" in output
    assert "File too large" in output
    assert os.listdir(target.parent) == []


def test_a_disk_that_is_too_small_is_found_before(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with pytest.raises(UserError, match="not enough space") as caught:
        sealed(filled_store("fixed"), target)
    assert "1.0 kB are free" in str(caught.value.seen)
    assert os.listdir(target.parent) == []


def test_what_is_there_is_kept(target: Path) -> None:
    store = filled_store("fixed")
    target.mkdir(parents=True)
    # An empty folder is as good as none.
    sealed(store, target)
    with pytest.raises(UserError, match="there is a sealed dataset already") as caught:
        sealed(store, target)
    assert "--replace" in str(caught.value.next_step)
    (target / "manifest.json").unlink()
    with pytest.raises(UserError, match="something else"):
        sealed(store, target, replace=True)
    file = target.with_name("file")
    file.write_text("mine")
    with pytest.raises(UserError, match="something else"):
        sealed(store, file, replace=True)
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(target: Path) -> None:
    target.parent.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written there"):
        sealed(filled_store("fixed"), target)


def test_a_file_where_its_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written there") as caught:
        sealed(filled_store("fixed"), tmp_path / "file" / "digits")
    assert "exit" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_one_process_seals_to_a_folder(target: Path) -> None:
    process = start(target, "fixed")
    try:
        while not list(target.parent.glob(".digits.new/*/*/rows.arrow")):
            assert process.poll() is None
        with pytest.raises(UserError, match="another process is sealing"):
            sealed(filled_store("fixed"), target)
    finally:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert read(target) == NUMBERS


def test_a_replacement_that_was_interrupted_is_undone(target: Path) -> None:
    store = filled_store("fixed")
    sealed(store, target)
    # Killed between its two renames.
    target.rename(target.with_name(".digits.replaced"))
    with pytest.raises(UserError, match="already"), new_folder(target):
        raise AssertionError
    assert read(target) == NUMBERS
    assert os.listdir(target.parent) == ["digits"]


def test_an_error_while_it_is_filled(target: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    store = filled_store("fixed")
    with pytest.raises(KeyboardInterrupt):
        seal(store, "s", uploads_to_seal(store.catalog(), "s"), target, listener=stop)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("damage", ["value", "crc"])
def test_a_damaged_record_is_not_sealed(target: Path, damage: str) -> None:
    store = filled_store("fixed")
    records = store.lanes[Lane("s.0.train", 1)]
    record = records[3]
    assert record is not None
    assert record.header is not None
    if damage == "value":
        # A byte of a row: the record can be decoded all the same.
        value = bytearray(record.value)
        value[len(value) // 2] ^= 1
        records[3] = record._replace(value=bytes(value))
    else:
        # With a checksum that fits: only the digest of the upload tells.
        number = np.float32(record.header.first)
        other = record.value.replace(number.tobytes(), (number + 1).tobytes())
        assert other != record.value
        header = replace(record.header, crc=checksum(other))
        records[3] = record._replace(value=other, header=header)
    with pytest.raises(WorkError, match="not as it was uploaded") as caught:
        sealed(store, target)
    assert ("checksum" if damage == "value" else "digest") in str(caught.value)
    assert os.listdir(target.parent) == []


def test_a_part_of_a_dataset_is_not_sealed(target: Path) -> None:
    store = MemoryStore()
    store.upload("u0", batches("fixed"), spec=FORMS["fixed"], proc_id=0, num_procs=2)
    with pytest.raises(deeptool.NotComplete, match="lacks shard 1 of 2"):
        uploads_to_seal(store.catalog(), "s")
    for name, split in (("other", None), ("s", "val")):
        with pytest.raises(DeeptoolError, match="no complete dataset"):
            uploads_to_seal(store.catalog(), name, split)
