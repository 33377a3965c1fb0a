"""Where local copies may be: only in a folder that is one's own, on a disk of this node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_disk import small_disk

from deeptool.columns import cache_folder
from deeptool.columns.cache_folder import cache_path, open_cache_folder
from deeptool.columns.growing_columns import NoLocalCopy

NAME = f"deeptool-cache-{os.geteuid()}"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DEEPTOOL_COPIES": "/a", "SLURM_TMPDIR": "/b", "TMPDIR": "/c"}, "/a"),
        ({"DEEPTOOL_COPIES": "", "SLURM_TMPDIR": "/b", "TMPDIR": "/c"}, "/b"),
        ({"TMPDIR": "/c"}, "/c"),
        ({}, "/tmp"),
    ],
)
def test_the_first_variable_says_where(environment: dict[str, str], expected: str) -> None:
    assert cache_path(environment) == Path(expected) / NAME


def test_a_folder_is_made_and_private_and_then_the_same(tmp_path: Path) -> None:
    environment = {"DEEPTOOL_COPIES": str(tmp_path / "not yet" / "there")}
    path = open_cache_folder(environment)
    assert path == tmp_path / "not yet" / "there" / NAME
    assert path.stat().st_mode & 0o777 == 0o700
    assert open_cache_folder(environment) == path


def refused(folder: Path) -> str:
    with pytest.raises(NoLocalCopy) as raised:
        open_cache_folder({"DEEPTOOL_COPIES": str(folder)})
    assert "DEEPTOOL_COPIES" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o720, 0o777])
def test_a_folder_that_others_may_use_is_none(tmp_path: Path, mode: int) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME).chmod(mode)
    assert f"others may use it: mode {mode:04o}" in refused(tmp_path)


def test_a_folder_of_somebody_else_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    (tmp_path / f"deeptool-cache-{owner + 1}").mkdir(mode=0o700)
    assert f"it belongs to user {owner}" in refused(tmp_path)


def test_a_link_or_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    assert "it is no folder" in refused(tmp_path)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).touch()
    assert NAME in refused(tmp_path)


def test_where_nothing_can_be_made_is_none() -> None:
    assert NAME in refused(Path("/proc/sys"))


def test_a_disk_that_is_mounted_to_be_read_only_is_none(tmp_path: Path) -> None:
    code = (
        "import sys; from deeptool.columns.cache_folder import open_cache_folder as f;"
        "print(f({'DEEPTOOL_COPIES': sys.argv[1]}))"
    )
    with small_disk(tmp_path / "disk", "10m") as disk:
        assert disk.run(sys.executable, "-c", code, disk.path).returncode == 0
        disk.run("mount", "-o", "remount,ro", disk.path)
        done = disk.run(sys.executable, "-c", code, disk.path)
    assert "NoLocalCopy" in done.stderr
    assert "it cannot be written" in done.stderr


def test_file_systems_of_the_network_and_those_in_memory_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_folder, "_file_system", lambda path: 0x0BD00BD0)
    assert "lustre" in refused(tmp_path)
    monkeypatch.setattr(cache_folder, "_file_system", lambda path: 0x01021994)
    with pytest.raises(NoLocalCopy, match="in memory"):
        open_cache_folder({"TMPDIR": str(tmp_path)})
    # Whoever names it wants it.
    assert open_cache_folder({"DEEPTOOL_COPIES": str(tmp_path)}) == tmp_path / NAME


@pytest.mark.parametrize("path", ["/proc", "/dev", "/tmp"])
def test_the_kind_of_a_file_system_is_what_stat_says(path: str) -> None:
    said = subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, text=True)
    assert cache_folder._file_system(Path(path)) == int(said.stdout, 16)
