"""Folders that are not what was sealed: moved, copied in part, damaged, of another format."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memory_store import MemoryStore
from seal_process import FORMS, batches, filled_store

import deeptool
from deeptool.errors import UserError, WorkError
from deeptool.sealed import manifest
from deeptool.sealed.check_sealed import check_sealed
from deeptool.sealed.seal import seal, uploads_to_seal
from deeptool.sealed.sealed_folder import SealedFolder


@pytest.fixture(params=["fixed", "ragged"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    store = filled_store(request.param)
    seal(store, "s", uploads_to_seal(store.catalog(), "s"), tmp_path / "digits")
    return tmp_path / "digits"


def numbers(folder: Path, **how: Any) -> list[int]:
    data = deeptool.open(folder)
    return [int(number) for _, values in data.numpy(**how) for number in values]


def damages(folder: Path, topic: str = "s.0.train") -> list[str]:
    checked = check_sealed(SealedFolder(folder), topic, lambda progress: None)
    assert checked.damages or (checked.samples, checked.upload) == (600, "u-train")
    return list(map(str, checked.damages))


def flip(path: Path, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("s.0.train/*/*")) if path.is_file())


def test_a_folder_may_be_moved_and_copied(folder: Path, tmp_path: Path) -> None:
    expected = numbers(folder)
    assert expected == list(range(400))
    copied = shutil.copytree(folder, tmp_path / "copied")
    moved = folder.rename(tmp_path / "moved")
    assert numbers(moved) == numbers(copied) == expected
    assert damages(moved) == damages(copied) == []


def test_a_file_that_is_missing_or_short_is_found_when_it_is_opened(folder: Path) -> None:
    for path in files(folder):
        whole = path.read_bytes()
        for part in (None, whole[:-1], b"", whole + b"more"):
            path.unlink(missing_ok=True)
            if part is not None:
                path.write_bytes(part)
            with pytest.raises(UserError, match="is not complete") as caught:
                deeptool.open(folder)
            assert str(path) in str(caught.value)
            assert len(damages(folder)) == 1
        path.write_bytes(whole)
        # The other split is whole.
        assert len(deeptool.open(folder, split="val")) == 400
    assert numbers(folder) == list(range(400))


def test_every_flipped_byte_is_found(folder: Path) -> None:
    for path in files(folder):
        size = path.stat().st_size
        for place in [*range(0, size, max(1, size // 12)), size - 1]:
            flip(path, place)
            assert damages(folder), (path, place)
            flip(path, place)
    assert damages(folder) == []


def test_damaged_rows_are_named(folder: Path) -> None:
    (path,) = folder.glob("s.0.train/pass-0/rows.*")
    flip(path, path.stat().st_size // 2)
    (found,) = damages(folder)
    assert "epoch 0" in found
    assert "rows " in found
    # Where records are made of rows, for a copy on the node, they are compared as well.
    with pytest.raises(WorkError, match="a sealed dataset is damaged") as caught:
        numbers(folder, cache="off")
    assert f"deeptool check {folder}" in str(caught.value)


def test_what_is_not_rows_is_verified_when_it_is_opened(folder: Path) -> None:
    for name in ("records.arrow", "journal"):
        path = folder / "s.0.train/pass-0" / name
        flip(path, path.stat().st_size // 2)
        with pytest.raises(WorkError, match="a sealed dataset is damaged"):
            numbers(folder)
        flip(path, path.stat().st_size // 2)
    (path,) = folder.glob("s.0.train/pass-0/rows.*")
    flip(path, 20)
    with pytest.raises(WorkError, match="a sealed dataset is damaged"):
        numbers(folder)


def test_a_later_format_is_rejected(folder: Path) -> None:
    path = folder / manifest.FILE
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "format": 2, "uploads": "something else"}))
    with pytest.raises(UserError, match="later version of deeptool") as caught:
        deeptool.open(folder)
    assert "format 2" in str(caught.value)
    assert caught.value.next_step == "pip install --upgrade deeptool"


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"samples": 400', '"samples": 399', 1),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"format": 1', '"format": 0'),
        lambda text: text.replace('"format": 1', '"format": "1"'),
    ],
)
def test_a_damaged_manifest_is_rejected(folder: Path, edit: Any) -> None:
    path = folder / manifest.FILE
    text = path.read_text()
    assert edit(text) != text
    path.write_text(edit(text))
    with pytest.raises(UserError, match="manifest of a sealed dataset is damaged"):
        deeptool.open(folder)


def test_what_is_no_sealed_dataset(folder: Path, tmp_path: Path) -> None:
    for path, what in (
        (tmp_path, "this is no sealed dataset"),
        (folder / manifest.FILE, "this is no sealed dataset"),
        (tmp_path / "nowhere", "there is no such sealed dataset"),
    ):
        with pytest.raises(UserError, match=what) as caught:
            deeptool.open(path)
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="no such sealed dataset"):
        deeptool.open("localhost:9092")
    with pytest.raises(UserError, match="without a name"):
        deeptool.open(folder, "s")
    for wrong in (["localhost:9092"], folder):
        with pytest.raises(UserError, match="opened by its name"):
            deeptool.open(wrong, follow=True)


def test_a_split_that_was_not_sealed(tmp_path: Path) -> None:
    store = filled_store("fixed")
    seal(store, "s", uploads_to_seal(store.catalog(), "s", "val"), tmp_path / "digits")
    assert len(deeptool.open(tmp_path / "digits", split="val")) == 400
    with pytest.raises(deeptool.NotStored, match="split train") as caught:
        deeptool.open(tmp_path / "digits")
    assert caught.value.valid == "split val"
    assert caught.value.next_step == f"deeptool inspect {tmp_path / 'digits'} lists what it holds"


def test_files_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [folder / manifest.FILE, *files(folder)]
    if os.geteuid() == 0:
        # Root may read everything: the system's answer is made up.
        opened, read = os.open, Path.read_text
        denied: list[Path] = []

        def check(path: Any) -> None:
            if Path(path) in denied:
                raise PermissionError(13, "Permission denied", str(path))

        def no_open(path: Any, *more: Any, **options: Any) -> int:
            check(path)
            return opened(path, *more, **options)

        def no_read(path: Path, *more: Any, **options: Any) -> str:
            check(path)
            return read(path, *more, **options)

        monkeypatch.setattr(os, "open", no_open)
        monkeypatch.setattr(Path, "read_text", no_read)
    for path in paths:
        if os.geteuid() == 0:
            denied[:] = [path]
        else:
            path.chmod(0)
        with pytest.raises(UserError, match="cannot be read") as caught:
            deeptool.open(folder)
        assert "Permission denied" in str(caught.value)
        if os.geteuid():
            path.chmod(0o644)


def test_samples_of_another_upload_are_never_taken_for_it(tmp_path: Path) -> None:
    """Files of two folders are not exchanged without notice."""
    folders = []
    for number, first in enumerate((0, 1)):
        store = MemoryStore(target_bytes=4096)
        made = [(x + first, y) for x, y in batches("fixed")]
        store.upload(f"u{number}", made, spec=FORMS["fixed"], batch_size=10)
        folders.append(tmp_path / str(number))
        seal(store, "s", uploads_to_seal(store.catalog(), "s"), folders[-1])
    names = ["s.0.train/pass-0/rows.arrow", "s.0.train/pass-0/records.arrow"]
    shutil.copy(folders[0] / names[1], folders[1] / names[1])
    with pytest.raises(WorkError, match="a sealed dataset is damaged"):
        numbers(folders[1])
