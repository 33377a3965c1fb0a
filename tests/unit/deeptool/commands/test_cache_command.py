"""deeptool cache: what there is, and what nobody uses removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf
from deeptool.columns.cache_folder import open_cache_folder
from deeptool.columns.growing_columns import GrowingColumns, Write
from deeptool.columns.local_copy import find_or_fill

SPEC = Spec((Leaf("uint8", (None, 1000)),))


def run(place: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEEPTOOL_COPIES": str(place)}
    command = [sys.executable, "-c", "from deeptool.cli import main; main()", "cache", *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def opened(place: Path, key: str) -> GrowingColumns:
    def fill(write: Write, missing: Sequence[tuple[int, int]]) -> None:
        write(0, (np.zeros((100, 1000), np.uint8),))

    folder = open_cache_folder({"DEEPTOOL_COPIES": str(place)})
    columns = find_or_fill(key, SPEC, 100, fill, folder)
    columns.wait([(0, 100)])
    return columns


def test_copies_are_listed_and_removed_but_not_one_in_use(tmp_path: Path) -> None:
    opened(tmp_path, "digits train, pass 0").close()
    used = opened(tmp_path, "digits \x1b[31mval")
    listed = json.loads(run(tmp_path, "list", "--json").stdout)
    assert {one["dataset"]: one["in_use"] for one in listed} == {
        "digits train, pass 0": False,
        "digits \x1b[31mval": True,
    }
    for one in listed:
        assert one["samples"] == 100
        assert 90_000 < one["bytes"] < 120_000
        assert (Path(one["path"]) / "rows").exists()
    shown = run(tmp_path, "list").stdout
    assert "digits train, pass 0" in shown
    assert "\x1b" not in shown
    assert "complete, in use" in shown

    cleared = run(tmp_path, "clear")
    assert "removed 1 local copy: freed 1" in cleared.stdout
    assert "in use, and kept: 1" in cleared.stdout
    assert [one["in_use"] for one in json.loads(run(tmp_path, "list", "--json").stdout)] == [True]
    used.close()
    removed = json.loads(run(tmp_path, "clear", "--json").stdout)
    assert [one["dataset"] for one in removed] == ["digits \x1b[31mval"]
    assert json.loads(run(tmp_path, "list", "--json").stdout) == []


def test_where_there_is_nothing_nothing_is_made(tmp_path: Path) -> None:
    place = tmp_path / "none"
    assert run(place, "list").stdout.startswith(f"no local copies in {place}")
    assert json.loads(run(place, "list", "--json").stdout) == []
    assert run(place, "clear").stdout == "removed 0 local copies: freed 0 bytes\n"
    assert not place.exists()


@pytest.mark.parametrize("argv", [["--help"], ["list", "--help"], ["clear", "--help"]])
def test_it_has_help(argv: list[str], tmp_path: Path) -> None:
    done = run(tmp_path, *argv)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_folder_that_others_may_use_is_an_error(tmp_path: Path) -> None:
    opened(tmp_path, "a").close()
    folder = open_cache_folder({"DEEPTOOL_COPIES": str(tmp_path)})
    folder.chmod(0o755)
    done = run(tmp_path, "list")
    assert done.returncode == 1
    assert "others may use it" in done.stderr
