"""Local copies, with real files and real processes: shared, taken over, verified, removed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from copy_process import FIXED, KEY, RAGGED, as_written, wrong_rows
from paths import ROOT
from small_disk import small_disk

from deeptool.columns import local_copy
from deeptool.columns.cache_room import clear
from deeptool.columns.copy_files import CopyFiles
from deeptool.columns.filled_rows import RowStore
from deeptool.columns.growing_columns import GrowingColumns, NoLocalCopy, Write
from deeptool.columns.local_copy import find_or_fill

SCRIPT = ROOT / "tests/helpers/copy_process.py"
Ranges = Sequence[tuple[int, int]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir(mode=0o700)
    return path


class Filling:
    """A fill that counts its calls, in pieces of ten rows."""

    def __init__(self, samples: int = 100) -> None:
        self.samples, self.missing = samples, list[Ranges]()

    def __call__(self, write: Write, missing: Ranges) -> None:
        self.missing.append(list(missing))
        for start, stop in missing:
            for first in range(start, stop, 10):
                write(first, as_written(FIXED, first, min(first + 10, stop)))


def no_fill(write: Write, missing: Ranges) -> None:
    raise AssertionError(f"filled again: {missing}")


def opened(folder: Path, fill: object = no_fill, **options: object) -> GrowingColumns:
    return find_or_fill(KEY, FIXED, 100, fill, folder, **options)  # type: ignore[arg-type]


def filled(folder: Path) -> Path:
    """The folder of a copy that is whole."""
    columns = opened(folder, Filling())
    columns.wait([(0, 100)])
    columns.close()
    (path,) = folder.glob("[!.]*")
    assert CopyFiles(path).whole
    return path


def test_a_copy_is_filled_once_and_other_programs_read_it(folder: Path) -> None:
    fill = Filling()
    for _ in range(3):
        columns = opened(folder, fill)
        columns.wait([(0, 100)])
        assert not wrong_rows(FIXED, columns, [99, 0, 50, 50])
        columns.close()
    assert fill.missing == [[(0, 100)]]
    (path,) = folder.glob("[!.]*")
    with pa.memory_map(str(path / "rows")) as source, pa.ipc.open_file(source) as reader:
        table = reader.read_all()
    x, y = as_written(FIXED, 0, 100)
    assert table["1"].to_pylist() == np.asarray(y).tolist()
    assert np.array_equal(table["0"].chunk(0).to_numpy_ndarray(), x)


def test_another_key_dataset_or_length_is_another_copy(folder: Path) -> None:
    for key, samples in (("a", 100), ("b", 100), ("a", 90)):
        columns = find_or_fill(key, FIXED, samples, Filling(), folder)
        columns.wait([(0, samples)])
        columns.close()
    assert len(list(folder.glob("[!.]*"))) == 3


def test_all_of_it_is_private(folder: Path) -> None:
    path = filled(folder)
    assert path.stat().st_mode & 0o777 == 0o700
    for name in ("rows", "journal", "about.json", "whole.json"):
        assert (path / name).stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------ several processes


def process(folder: Path, *options: object) -> subprocess.Popen[str]:
    argv = [sys.executable, str(SCRIPT), str(folder), *map(str, options)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def rows_filled(output: str) -> list[int]:
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("filling")]


def test_of_processes_that_come_at_once_one_fills_and_all_read_as_it_grows(folder: Path) -> None:
    running = [process(folder, 600, 10, 0.01) for _ in range(3)]
    outputs = [one.communicate(timeout=120)[0] for one in running]
    assert all("all 600 rows are right" in output for output in outputs), outputs
    assert sorted(map(rows_filled, outputs)) == [[], [], [600]]


def kill_fillers(folder: Path, times: int, form: str, rng: random.Random) -> None:
    """Processes read one copy; whichever fills it is killed, again and again."""
    samples, ended, filled_rows = 3000, [], []
    running = [process(folder, samples, 7, 0.01, form) for _ in range(3)]
    for _ in range(times):
        filler = _next_filler(folder)
        time.sleep(rng.uniform(0.0, 0.3))
        for one in [one for one in running if one.pid == filler]:
            one.send_signal(signal.SIGKILL)
            ended.append(one)
            running.remove(one)
            running.append(process(folder, samples, 7, 0.01, form))
    outputs = [one.communicate(timeout=120)[0] for one in running]
    assert ended
    assert all(f"all {samples} rows are right" in output for output in outputs), outputs
    for one in ended:
        filled_rows += rows_filled(one.communicate(timeout=120)[0])
    filled_rows += [count for output in outputs for count in rows_filled(output)]
    # One after the other: each had only to do what those before it had not done.
    assert filled_rows[0] == samples
    assert filled_rows == sorted(filled_rows, reverse=True)
    assert filled_rows[-1] < samples


def _next_filler(folder: Path) -> int | None:
    """The process that fills, as soon as there is one; None when the copy is whole."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(folder.glob("[!.]*/whole.json")):
        filler = _filler_of(folder)
        if filler is not None:
            return filler
        time.sleep(0.005)
    return None


def _filler_of(folder: Path) -> int | None:
    """Who holds the lock of the filler, as the kernel says."""
    found = list(folder.glob("[!.]*/filler"))
    if not found:
        return None
    number = found[0].stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and "->" not in fields and fields[5].endswith(f":{number}"):
            return int(fields[4])
    return None


@pytest.mark.parametrize("form", ["fixed", "ragged"])
def test_a_filler_that_is_killed_is_followed_by_another(folder: Path, form: str) -> None:
    kill_fillers(folder, 10, form, random.Random())


@pytest.mark.soak
def test_fillers_that_are_killed_all_the_time(tmp_path: Path) -> None:
    rng = random.Random()
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        kill_fillers(folder, rng.randrange(1, 40), rng.choice(["fixed", "ragged"]), rng)


FORKS_AND_DIES = """
import os, signal, sys, time
from pathlib import Path
from copy_process import FIXED, KEY, as_written
from deeptool.columns.local_copy import find_or_fill

def fill(write, missing):
    write(0, as_written(FIXED, 0, 40))
    time.sleep(60)

columns = find_or_fill(KEY, FIXED, 100, fill, Path(sys.argv[1]))
columns.wait([(0, 40)])
child = os.fork()
if not child:
    time.sleep(60)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fork_of_a_killed_filler_does_not_hold_its_lock(folder: Path) -> None:
    argv = [sys.executable, "-c", FORKS_AND_DIES, folder]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    # Not `run`: the fork holds its output open.
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as filler:
        assert filler.stdout is not None
        child = int(filler.stdout.readline())
        try:
            filler.wait(30)
            fill = Filling()
            columns = opened(folder, fill)
            columns.wait([(0, 100)], timeout=20)
            assert fill.missing == [[(40, 100)]]
            assert not wrong_rows(FIXED, columns, range(100))
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_fill_that_failed_is_continued_by_whoever_waits(folder: Path) -> None:
    def fails(write: Write, missing: Ranges) -> None:
        write(20, as_written(FIXED, 20, 70))
        raise ConnectionError("the broker is gone")

    first = opened(folder, fails)
    with pytest.raises(ConnectionError, match="the broker is gone"):
        first.wait([(0, 100)], timeout=30)
    fill = Filling()
    second = opened(folder, fill)
    second.wait([(0, 100)], timeout=30)
    assert fill.missing == [[(0, 20), (70, 100)]]
    assert not wrong_rows(FIXED, second, range(100))
    # The first one only read, and may go on doing so.
    first.wait([(0, 100)])
    assert not wrong_rows(FIXED, first, range(100))


OPENS_AND_CLOSES = """
import random, sys
from pathlib import Path
from copy_process import FIXED, KEY, RAGGED, as_written, wrong_rows
from deeptool.columns.local_copy import find_or_fill

for number in range(int(sys.argv[2])):
    spec = random.choice([FIXED, RAGGED])

    def fill(write, missing):
        for start, stop in missing:
            for first in range(start, stop, 10):
                write(first, as_written(spec, first, min(first + 10, stop)))

    columns = find_or_fill(KEY, spec, 60, fill, Path(sys.argv[1]), warn=print)
    columns.wait([(0, 60)], timeout=60)
    wrong = wrong_rows(spec, columns, range(60))
    columns.close()
    if wrong:
        sys.exit(f"wrong rows: {wrong}")
"""


def open_and_clear(folder: Path, rounds: int) -> int:
    """Processes open and close copies while others are removed all the time; how many were."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    argv = [sys.executable, "-c", OPENS_AND_CLOSES, str(folder), str(rounds)]
    running = [
        subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        for _ in range(3)
    ]
    removed = 0
    while any(one.poll() is None for one in running):
        removed += len(clear(folder))
        time.sleep(0.002)
    outputs = [one.communicate()[0] for one in running]
    assert all(output == "" for output in outputs), "\n".join(outputs)
    assert all(one.returncode == 0 for one in running)
    return removed


def test_copies_that_are_removed_all_the_time_are_made_again(folder: Path) -> None:
    assert open_and_clear(folder, 30) > 1


@pytest.mark.soak
def test_copies_that_are_removed_for_a_long_time_are_made_again(folder: Path) -> None:
    assert open_and_clear(folder, 1000) > 10


# ------------------------------------------------------------------ what is damaged


def test_what_a_crash_of_the_machine_left_is_filled_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(write: Write, missing: Ranges) -> None:
        write(0, as_written(FIXED, 0, 50))
        raise ConnectionError

    columns = opened(folder, half)
    with pytest.raises(ConnectionError):
        columns.wait([(0, 100)], timeout=30)
    columns.close()
    monkeypatch.setattr(local_copy, "boot_id", lambda: "the next one")
    fill = Filling()
    columns = opened(folder, fill)
    columns.wait([(0, 100)], timeout=30)
    assert fill.missing == [[(0, 100)]]
    assert not wrong_rows(FIXED, columns, range(100))


def flip(path: Path, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: truncate(path / "rows"),
        lambda path: os.truncate(path / "rows", 0),
        lambda path: flip(path / "rows", 2000),
        lambda path: flip(path / "rows", (path / "rows").stat().st_size // 2),
        lambda path: flip(path / "rows", 200),
        lambda path: flip(path / "rows", (path / "rows").stat().st_size - 20),
        lambda path: flip(path / "journal", 90),
        lambda path: truncate(path / "journal"),
        lambda path: (path / "journal").unlink(),
    ],
    ids=[
        *("cut rows", "empty rows", "a byte of a row", "another byte of a row", "a byte before"),
        *("a byte behind", "a byte of the journal", "cut journal", "no journal"),
    ],
)
def test_a_damaged_copy_is_never_read(folder: Path, damage: object) -> None:
    path = filled(folder)
    damage(path)  # type: ignore[operator]
    warnings = list[str]()
    fill = Filling()
    columns = opened(folder, fill, warn=warnings.append)
    columns.wait([(0, 100)], timeout=30)
    assert not wrong_rows(FIXED, columns, range(100))
    columns.close()
    assert fill.missing == [[(0, 100)]]
    assert len(warnings) == 1
    assert KEY in warnings[0]
    opened(folder).close()


def test_a_copy_whose_end_was_not_written_is_ended_by_the_next_process(folder: Path) -> None:
    path = filled(folder)
    (path / "whole.json").write_text("{")
    columns = opened(folder)
    columns.wait([(0, 100)])
    columns.close()
    assert json.loads((path / "whole.json").read_text())["size"] == (path / "rows").stat().st_size


def test_a_filler_whose_copy_was_removed_says_nothing_of_the_next_one(folder: Path) -> None:
    go_on = threading.Event()

    def waits(write: Write, missing: Ranges) -> None:
        write(0, as_written(FIXED, 0, 90))
        go_on.wait(30)
        write(90, as_written(FIXED, 90, 100))

    first = opened(folder, waits)
    first.wait([(0, 90)])
    (path,) = folder.glob("[!.]*")
    shutil.rmtree(path)

    def half(write: Write, missing: Ranges) -> None:
        write(0, as_written(FIXED, 0, 50))
        go_on.wait(30)
        first.wait([(0, 100)], timeout=30)
        first.close()
        assert not CopyFiles(path).whole
        write(50, as_written(FIXED, 50, 100))

    second = opened(folder, half)
    second.wait([(0, 50)])
    go_on.set()
    second.wait([(0, 100)], timeout=30)
    assert not wrong_rows(FIXED, second, range(100))
    second.close()
    assert CopyFiles(path).whole


def test_every_byte_of_the_rows_is_verified(folder: Path) -> None:
    path = filled(folder)
    for place in range(0, (path / "rows").stat().st_size, 97):
        flip(path / "rows", place)
        warnings = list[str]()
        columns = opened(folder, Filling(), warn=warnings.append)
        columns.wait([(0, 100)], timeout=30)
        columns.close()
        assert len(warnings) == 1, place


def ragged(write: Write, missing: Ranges) -> None:
    for start, stop in missing:
        for first in range(start, stop, 10):
            write(first, as_written(RAGGED, first, min(first + 10, stop)))


def test_every_byte_of_rows_of_many_sizes_is_verified(folder: Path) -> None:
    def opened_ragged() -> list[str]:
        warnings = list[str]()
        columns = find_or_fill(KEY, RAGGED, 40, ragged, folder, warn=warnings.append)
        columns.wait([(0, 40)], timeout=30)
        assert not wrong_rows(RAGGED, columns, range(40))
        columns.close()
        return warnings

    assert opened_ragged() == []
    (path,) = folder.glob("[!.]*")
    size = (path / "rows").stat().st_size
    for place in [*range(0, size, 97), size - 8, size - 1]:
        assert opened_ragged() == []
        flip(path / "rows", place)
        assert len(opened_ragged()) == 1, place
    with open(path / "rows", "ab") as file:
        file.write(b"more")
    assert len(opened_ragged()) == 1


def test_a_copy_is_verified_once_until_its_files_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[Path]()
    find = local_copy.find_damage

    def counted(store: RowStore, rows: Path, *more: Any) -> Iterator[str]:
        tried.append(rows.parent)
        return find(store, rows, *more)

    monkeypatch.setattr(local_copy, "find_damage", counted)
    path = filled(folder)
    assert not tried
    for _ in range(3):
        opened(folder).close()
    assert tried == [path]
    os.utime(path / "rows")
    opened(folder).close()
    assert tried == [path, path]


# ------------------------------------------------------------------ no room


def test_a_full_disk_is_found_before_the_first_row(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "80m") as disk:
        disk.fill()
        done = disk.run(sys.executable, SCRIPT, disk.path, 1000, 100, 0)
        assert "no local copy" in done.stdout, done
        assert "filling" not in done.stdout
        assert disk.run("ls", disk.path).stdout.split() == ["other"]


def test_a_disk_that_fills_up_ends_the_copy_for_all_and_is_free_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "80m") as disk:
        argv = [sys.executable, SCRIPT, disk.path, 20_000, 10, 0.01, "ragged"]
        running = [disk.start(*argv) for _ in range(2)]
        for one in running:
            assert one.stdout is not None
            while (line := one.stdout.readline()) != "open\n":
                assert line, one
        disk.fill()
        outputs = [one.communicate(timeout=120)[0] for one in running]
        assert all("no local copy" in output for output in outputs), outputs
        assert any("too full" in output for output in outputs), outputs
        assert disk.run("ls", disk.path).stdout.split() == ["other"]


def test_a_folder_that_cannot_be_made_is_no_local_copy(tmp_path: Path) -> None:
    with pytest.raises(NoLocalCopy):
        opened(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NoLocalCopy):
        opened(tmp_path / "file")


def test_a_fork_closes_no_descriptor_of_somebody_else(folder: Path) -> None:
    """Not that of the lock, which was given up and may be another file by now."""
    columns = opened(folder, Filling())
    columns.wait([(0, 100)])
    (path,) = folder.glob("[!.]*")
    deadline = time.monotonic() + 30
    while not CopyFiles(path).whole and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        lost = 0
        for descriptor in held:
            try:
                os.fstat(descriptor)
            except OSError:
                lost += 1
        os.write(writer, bytes([lost]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"\0"
    # A program that is started with a function to call in its process runs the same hooks.
    for _ in range(8):
        subprocess.run(["true"], preexec_fn=lambda: None, check=True)
    for descriptor in (*held, reader, writer):
        os.close(descriptor)
    columns.close()
