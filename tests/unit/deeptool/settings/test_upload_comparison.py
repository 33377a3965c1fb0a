"""Fingerprints of the raw data, and a trial held against an upload."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from settings_files import write

from deeptool.catalog.events import Begun
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.errors import UserError
from deeptool.settings import Settings, compare, load_settings
from deeptool.settings.fingerprint import pipeline_code
from deeptool.settings.pipeline_facts import PipelineFacts
from deeptool.settings.raw_data import list_raw_data


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    (folder / "b/deep").mkdir(parents=True)
    for name, content, modified in (("z.png", b"12", 10), ("b/deep/a.png", b"345", 20)):
        (folder / name).write_bytes(content)
        os.utime(folder / name, (modified, modified))
    return folder


def test_raw_data_of_a_folder(raw: Path) -> None:
    listing = b"b/deep/a.png\x003\x0020000000000\0z.png\x002\x0010000000000\0"
    assert list_raw_data(str(raw)) == {
        "digest": hashlib.sha256(listing).hexdigest(),
        "names_digest": hashlib.sha256(b"b/deep/a.png\x003\0z.png\x002\0").hexdigest(),
        "files": 2,
        "bytes": 5,
        "newest": 20.0,
    }


def test_raw_data_changes_with_names_sizes_and_times_and_nothing_else(raw: Path) -> None:
    facts = list_raw_data(str(raw))
    assert facts is not None
    moved = raw.with_name("moved")
    raw.rename(moved)
    assert list_raw_data(str(moved)) == facts
    digests = {facts["digest"]}
    (moved / "z.png").rename(moved / "y.png")
    digests.add((list_raw_data(str(moved)) or {})["digest"])
    os.utime(moved / "y.png", (11, 11))
    digests.add((list_raw_data(str(moved)) or {})["digest"])
    (moved / "y.png").write_bytes(b"123")
    os.utime(moved / "y.png", (11, 11))
    digests.add((list_raw_data(str(moved)) or {})["digest"])
    (moved / "new").write_bytes(b"")
    digests.add((list_raw_data(str(moved)) or {})["digest"])
    assert len(digests) == 5


def test_raw_data_of_links_files_and_nothing(raw: Path, tmp_path: Path) -> None:
    facts = list_raw_data(str(raw))
    (tmp_path / "link").symlink_to(raw)
    assert list_raw_data(str(tmp_path / "link")) == facts
    (raw / "b/up").symlink_to(raw)
    (raw / "b/broken").symlink_to(raw / "nowhere")
    looped = list_raw_data(str(raw))
    assert looped is not None
    assert looped["files"] == 3
    assert (list_raw_data(str(raw / "z.png")) or {})["bytes"] == 2
    (tmp_path / "empty").mkdir()
    assert list_raw_data(str(tmp_path / "empty")) == {
        "digest": hashlib.sha256().hexdigest(),
        "names_digest": hashlib.sha256().hexdigest(),
        "files": 0,
        "bytes": 0,
        "newest": None,
    }
    assert list_raw_data("") is None
    assert list_raw_data(str(tmp_path / "nowhere")) is None


def test_raw_data_that_cannot_be_listed(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="Permission denied") as caught:
        list_raw_data(str(raw))
    assert str(raw) in str(caught.value.seen)


# ---- a trial against an upload ----

HPARAMS = "{'procID': 0, 'size': 32, 'crop': (1, 2), 'learning_rate': 0.1, 'nbEpoch': 1}"


def settings_of(folder: Path, after: str = "", **options: Any) -> Settings:
    path = write(folder, after=after, hparams=HPARAMS, raw_data_dir_train=repr(str(folder / "raw")))
    return load_settings(path, seed=False, **options)


def upload_of(settings: Settings, **changes: Any) -> Begun:
    begun = Begun(
        topic="test.0.train",
        upload="u",
        owner="o",
        session="test",
        proc_id=0,
        num_procs=1,
        split="train",
        codec="arrow",
        element_spec=Spec(Leaf("float32", (None,))),
        batch_size=10,
        hparams=settings.hparams,
        data_hparams={},
        settings_sha256=settings.sha256,
        raw_data=settings.raw_data("train"),
        heartbeat_seconds=10,
        start={},
        time=0,
    )
    return replace(begun, **changes)


def test_a_trial_that_agrees(tmp_path: Path, raw: Path) -> None:
    settings = settings_of(tmp_path)
    begun = upload_of(settings)
    assert begun.raw_data is not None
    assert begun.raw_data["files"] == 2
    stored = {"size": 32, "crop": [1, 2], "procID": 0}
    assert compare(settings, begun, stored) == []
    # What is free to differ.
    other = settings_of(tmp_path, hparams={"learning_rate": "0.5"})
    assert compare(other, begun, stored) == []


def test_a_value_unequal_to_itself_agrees(tmp_path: Path) -> None:
    hparams = "{'nbEpoch': 1, 'fill': float('nan'), 'fills': {'x': [1.0, float('nan')]}}"
    settings = load_settings(write(tmp_path, hparams=hparams), seed=False)
    stored = {"fill": float("nan"), "fills": {"x": [1.0, float("nan")]}}
    assert compare(settings, upload_of(settings, raw_data=None), stored) == []
    with pytest.raises(UserError, match="'fills'"):
        compare(settings, upload_of(settings), {"fills": {"x": [2.0, float("nan")]}})


@pytest.mark.parametrize(
    ("stored", "key", "here", "there"),
    [
        ({"crop": [1, 2], "size": 16}, "size", "32", "16"),
        ({"crop": [1, 3]}, "crop", "[1, 2]", "[1, 3]"),
        ({"procID": 2}, "procID", "0", "2"),
        ({"gone": 5}, "gone", "'not there'", "5"),
    ],
)
def test_a_trial_on_other_data_is_refused(
    tmp_path: Path, stored: dict[str, Any], key: str, here: str, there: str
) -> None:
    settings = settings_of(tmp_path)
    with pytest.raises(UserError) as caught:
        compare(settings, upload_of(settings), stored)
    error = caught.value
    assert error.exit_code == 2
    assert f"'{key}'" in error.what
    assert "test.0.train" in error.what
    assert error.seen == f"{key} = {here} in this trial, {there} at the upload"


def test_the_trials_own_data_hparams_have_the_last_word(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "data_hparams = ['size']", hparams={"learning_rate": "0.5"})
    begun = upload_of(settings, hparams={"size": 32, "learning_rate": 0.1})
    # All in doubt at the upload: the file says since that one counts.
    assert compare(settings, begun, {"size": 32, "learning_rate": 0.1}) == []
    # One that the upload did not count is held against all its hparams.
    assert compare(settings, begun, {}) == []
    with pytest.raises(UserError, match="'size'"):
        compare(settings, replace(begun, hparams={"size": 16}), {})
    with pytest.raises(UserError, match="'size'") as caught:
        compare(settings, replace(begun, hparams={}), {})
    assert "'not there' at the upload" in str(caught.value.seen)


def test_the_shards_of_one_dataset_differ_in_their_proc_id(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    begun = upload_of(settings, proc_id=1, num_procs=2)
    stored = {"procID": 1, "num_procs": 2, "size": 32}
    assert compare(settings, begun, stored) == []
    with pytest.raises(UserError, match="'size'"):
        compare(settings, begun, {**stored, "size": 16})


def test_proc_id_of_a_file_that_has_none(tmp_path: Path) -> None:
    path = write(tmp_path, hparams="{'nbEpoch': 1}")
    settings = load_settings(path, seed=False)
    begun = upload_of(settings)
    assert compare(settings, begun, {"procID": 0, "num_procs": 1}) == []
    with pytest.raises(UserError, match="'procID'"):
        compare(settings, begun, {"procID": 1})


def test_other_code_and_other_raw_data_are_warnings(tmp_path: Path, raw: Path) -> None:
    (tmp_path / "scaling.py").write_text("FACTOR = 1\n")
    (tmp_path / "model.py").write_text("")
    using = "import scaling\nraw_data_filename_extension = ''\nnb_train_samples = scaling.FACTOR"
    settings = settings_of(tmp_path, using)
    begun = upload_of(settings)
    pipeline = PipelineFacts(code=pipeline_code(settings)).to_json()
    assert compare(settings_of(tmp_path, using + "\n# other\nmore = 1"), begun, {}, pipeline) == []
    (tmp_path / "scaling.py").write_text("FACTOR = 2\n")
    (raw / "new.png").write_bytes(b"1234")
    code_changed, raw_changed = compare(settings_of(tmp_path, using), begun, {}, pipeline)
    assert "scaling.py" in code_changed
    assert "3 files of 9 bytes" in raw_changed
    assert "2 files of 5 bytes, newest 1970-01-01" in raw_changed


def test_what_is_not_known_is_no_warning(tmp_path: Path, raw: Path) -> None:
    settings = settings_of(tmp_path)
    begun = upload_of(settings)
    assert compare(settings, replace(begun, settings_sha256=None, raw_data=None), {}) == []
    raw.rename(tmp_path / "elsewhere")
    assert compare(settings, begun, {}) == []
