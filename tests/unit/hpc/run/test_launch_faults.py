"""A launch on a third backend: to the end, refused, joined, and killed after each of its writes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_backend import FakeBackend, queued, run_job
from fake_launch import programs
from rich.console import Console

from deeptool.errors import UserError
from deeptool.files import read_json
from hpc.backends import BACKENDS
from hpc.campaign.plan import make_plan
from hpc.campaign.toml_file import load
from hpc.commands import down, launch, logs, status
from hpc.run.launch import LaunchResult
from hpc.run.launch import launch as run_launch
from hpc.run.preparation import LaunchOptions
from hpc.run.run_folder import RunFolder
from hpc.run.screen import Screen
from hpc.run.snapshot import take_snapshot

CAMPAIGN = """
name = "search"
settings = "settings.py"
backend = "fake"
report = false
[fake]
queue = "night"
[broker]
bootstrap_servers = ["kafka:9092"]
[trials]
grid = { lr = [1, 2] }
"""
KILLED = 9


class Bench:
    """A campaign on the fake backend, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "settings.py").write_text("")
        self.file = folder / "search.toml"
        self.file.write_text(CAMPAIGN)
        self.run = RunFolder(folder / "runs" / "search")
        self.notes_file = folder / "runs" / "notes"

    def launch(self, *sets: str, **how: Any) -> LaunchResult:
        screen = Screen(Console(file=io.StringIO()))
        campaign = load(self.file, sets=sets)
        return run_launch(campaign, screen, LaunchOptions(**how), programs=programs)

    def killed_launch(self, writes: int, *sets: str, **how: Any) -> bool:
        """A launch in a process that is gone after so many writes; False: it made fewer."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with killed_after(writes):
                    self.launch(*sets, **how)
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, KILLED)
        return code == KILLED

    def notes(self) -> list[str]:
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []

    def files(self) -> dict[str, str]:
        """Every file of the run folder but its lock, and every folder."""
        found = {}
        for path in self.run.folder.rglob("*"):
            if path.name != ".lock":
                name = str(path.relative_to(self.run.folder))
                found[name] = path.read_text() if path.is_file() else "a folder"
        return found

    def edit(self, text: str) -> None:
        """Another settings file."""
        (self.file.parent / "settings.py").write_text(text)

    def outdated(self) -> dict[int, int]:
        """Index -> lr of the trials that are shown apart; the report is told of the same."""
        trials = [task for task in self.run.state().of("trial").values() if task.outdated]
        told = read_json(self.run.outdated_file)
        assert told == {str(task.index): task.outdated for task in trials}
        return {task.index: task.hparams["lr"] for task in trials}

    def code(self) -> dict[int, str]:
        """Index -> what the copy of the settings file says that the trial ran with."""
        found = {}
        for task in self.run.state().of("trial").values():
            folder = self.run.code(read_json(self.run.trial(task.index) / "trial.json")["code"])
            found[task.index] = (folder / "0_settings.py").read_text()
        return found

    def rates(self) -> dict[int, int]:
        """Index -> lr of the trials that count; each result is that of its own hparams."""
        found = {}
        for task in self.run.state().of("trial").values():
            if task.outdated:
                continue
            made = self.run.result(task.index)["hparams"]
            assert made == task.hparams
            assert read_json(self.run.trial(task.index) / "trial.json")["hparams"] == made
            found[task.index] = made["lr"]
        return found


@contextmanager
def killed_after(writes: int) -> Iterator[None]:
    """This process is gone once so many writes were made."""
    count = 0

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def replacement(*arguments: Any) -> None:
            nonlocal count
            write(*arguments)
            count += 1
            if count == writes:
                os._exit(KILLED)

        return replacement

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_write", "_remove", "_make", "_copy"):
            patch.setattr(RunFolder, name, counted(getattr(RunFolder, name)))
        yield


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Bench]:
    monkeypatch.setitem(BACKENDS, "fake", "fake_backend")
    monkeypatch.setenv("FAKE_STORE", str(tmp_path))
    for name in ("launch", "dry_run"):
        replacement = partial(getattr(launch, name), programs=programs)
        monkeypatch.setattr(launch, name, replacement)
    # Hundreds of launches: a crash of the machine is not what is tried here.
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    made = 0

    def fresh_bench() -> Bench:
        nonlocal made
        made += 1
        folder = tmp_path / str(made)
        folder.mkdir()
        monkeypatch.chdir(folder)
        return Bench(folder)

    return fresh_bench


def test_a_third_backend_is_one_module_and_one_line(make: Callable[[], Bench]) -> None:
    bench = make()
    words = [str(bench.file)]
    shown = CliRunner().invoke(launch.command, [*words, "--dry-run"])
    assert shown.output == "queue night: producer-0, trial-0, trial-1\n"
    detached = CliRunner().invoke(launch.command, [*words, "--detach"])
    assert detached.exit_code == 0, detached.output
    assert "the jobs continue" in detached.output
    result = CliRunner().invoke(launch.command, words)
    assert result.exit_code == 0, result.output
    assert "the jobs are in the queue already" in result.output
    assert "everything stopped" in result.output
    assert bench.rates() == {0: 1, 1: 2}
    assert "search complete" in CliRunner().invoke(status.command, []).output
    asked = CliRunner().invoke(logs.command, ["trial", "0"])
    assert "trial-0 has no log yet: it is complete" in str(asked.exception)
    assert "nothing of" in CliRunner().invoke(down.command, []).output
    wrong = CliRunner().invoke(launch.command, [*words, "--set", "fake.queu=x"])
    assert "fake.queu: unknown key (did you mean queue?)" in str(wrong.exception)


def test_a_refused_launch_leaves_everything_as_it_was(make: Callable[[], Bench]) -> None:
    bench = make()
    bench.launch(detach=True)
    before = bench.files()
    with pytest.raises(UserError, match="this one has more") as caught:
        bench.launch("trials.grid.lr=[1, 2, 3]")
    assert "trial-2" in str(caught.value)
    with pytest.raises(UserError, match="under another campaign") as caught:
        bench.launch("fake.queue=day")
    assert 'fake.queue: "night" -> "day"' in str(caught.value)
    assert f"deeptool-hpc down {bench.run.folder}" in str(caught.value)
    assert bench.files() == before
    assert queued(bench.run) == ("producer-0", "trial-0", "trial-1")


def test_joining_writes_nothing(make: Callable[[], Bench]) -> None:
    bench = make()
    bench.launch(detach=True)
    before = bench.files()
    # What the jobs never see, and what only concerns whoever watches them.
    bench.launch("report=true", "fake.poll_seconds=5", detach=True)
    assert bench.files() == before
    bench.launch()
    assert bench.rates() == {0: 1, 1: 2}
    assert bench.notes() == ["ran {'lr': 1}", "ran {'lr': 2}"]


def test_what_completes_while_it_is_ended_is_not_run_again(
    make: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    while True:
        bench = make()
        writes += 1
        bench.killed_launch(writes, detach=True)
        if "trial-0" in queued(bench.run):
            break
    end, seen = FakeBackend.end_earlier, []

    def complete_one(*arguments: Any) -> None:
        plan = make_plan(load(bench.file), bench.run.state().id)
        run_job(bench.run, plan.of("trial")[0])
        seen.append(queued(bench.run))
        end(*arguments)

    monkeypatch.setattr(FakeBackend, "end_earlier", complete_one)
    bench.launch()
    assert seen == [("producer-0", "trial-0")]
    assert bench.rates() == {0: 1, 1: 2}
    assert [line for line in bench.notes() if "cancelled" not in line] == [
        *("ran {'lr': 1}", "ran {'lr': 2}")
    ]


def everywhere(
    make: Callable[[], Bench], prepare: Callable[[Bench], None], *sets: str, **how: Any
) -> Iterator[Bench]:
    """Benches on which a launch was killed: after its first write, after its second, ..."""
    for writes in range(1, 100):
        bench = make()
        prepare(bench)
        before = bench.notes()
        if not bench.killed_launch(writes, *sets, **how):
            assert writes > 10, "writes are not counted"
            return
        state = bench.run.read_state()
        kept = state is not None and state.submitted
        bench.launch(*sets)
        cancelled = [line for line in bench.notes()[len(before) :] if "cancelled" in line]
        assert not (kept and cancelled), (writes, cancelled)
        assert take_snapshot(bench.run).state == "complete"
        assert queued(bench.run) == ()
        yield bench
    raise AssertionError("the launch never ended")


def test_a_first_launch_killed_anywhere(make: Callable[[], Bench]) -> None:
    for bench in everywhere(make, lambda bench: None):
        assert bench.rates() == {0: 1, 1: 2}
        assert [line for line in bench.notes() if "cancelled" not in line] == [
            *("ran {'lr': 1}", "ran {'lr': 2}")
        ]


@pytest.mark.soak
def test_a_search_that_grows_killed_anywhere(make: Callable[[], Bench]) -> None:
    grown = "trials.grid.lr=[3, 2, 1]"
    for bench in everywhere(make, lambda bench: bench.launch() and None, grown):
        # What was complete has its index, and was not run again.
        assert bench.rates() == {0: 1, 1: 2, 2: 3}
        assert [line for line in bench.notes() if "cancelled" not in line] == [
            *("ran {'lr': 1}", "ran {'lr': 2}", "ran {'lr': 3}")
        ]


@pytest.mark.soak
def test_another_search_killed_anywhere(make: Callable[[], Bench]) -> None:
    for bench in everywhere(make, lambda bench: bench.launch() and None, "trials.grid.lr=[3]"):
        assert bench.rates() == {0: 1, 1: 2, 2: 3}


@pytest.mark.soak
def test_a_fresh_launch_killed_anywhere(make: Callable[[], Bench]) -> None:
    cleared = 0
    for bench in everywhere(
        make, lambda bench: bench.launch() and None, "trials.grid.lr=[3]", fresh=True
    ):
        assert bench.rates() == {0: 3}
        cleared += 1
    assert cleared > 10


def test_an_edit_killed_anywhere(make: Callable[[], Bench]) -> None:
    def trained_and_edited(bench: Bench) -> None:
        bench.edit("train 1")
        bench.launch()
        bench.edit("train 2")

    for bench in everywhere(make, trained_and_edited):
        assert bench.rates() == {2: 1, 3: 2}
        assert bench.outdated() == {0: 1, 1: 2}
        assert bench.code() == {0: "train 1", 1: "train 1", 2: "train 2", 3: "train 2"}
        # Undone: nothing runs.
        notes = bench.notes()
        bench.edit("# first\ntrain 1")
        bench.launch()
        assert bench.rates() == {0: 1, 1: 2}
        assert bench.outdated() == {2: 1, 3: 2}
        assert bench.notes() == notes


def test_an_edit_that_is_undone_before_its_trials_began(make: Callable[[], Bench]) -> None:
    bench = make()
    bench.edit("train 1")
    bench.launch()
    bench.edit("train 2")
    bench.launch(detach=True)
    assert queued(bench.run) == ("producer-0", "trial-2", "trial-3")
    bench.edit("train 1")
    with pytest.raises(UserError, match="the files that they were launched with have changed"):
        bench.launch()
    bench.edit("train 2  # a remark\n# another".partition("  #")[0])
    bench.launch()
    assert bench.rates() == {2: 1, 3: 2}


def test_a_comment_joins_the_jobs_that_wait(make: Callable[[], Bench]) -> None:
    bench = make()
    bench.edit("train 1")
    bench.launch(detach=True)
    before = bench.files()
    bench.edit("# a remark\ntrain 1")
    bench.launch(detach=True)
    assert bench.files() == before
    bench.launch()
    assert bench.code() == {0: "train 1", 1: "train 1"}


def test_trials_that_never_began_leave_their_numbers(make: Callable[[], Bench]) -> None:
    bench = make()
    bench.edit("train 1")
    bench.launch(detach=True)
    assert bench.run.trial(1).exists()
    for name in queued(bench.run):
        (bench.run.folder / "queue" / name).unlink()
    bench.edit("train 2")
    bench.launch("trials.grid.lr=[7]")
    assert bench.rates() == {0: 7}
    assert bench.outdated() == {}
    assert not bench.run.trial(1).exists()


def test_a_refused_edit_changes_no_byte(make: Callable[[], Bench]) -> None:
    bench = make()
    bench.edit("train 1")
    bench.launch()
    before = bench.files()
    bench.edit("broken")
    with pytest.raises(UserError, match="the settings file cannot be loaded"):
        bench.launch()
    bench.edit("train 1")
    with pytest.raises(UserError, match="1 of 1 trials are rejected") as caught:
        bench.launch("trials.grid.augment=[3]", "trials.grid.lr=[1]")
    assert "'augment': 3}: augment differs, and the samples depend on it" in str(caught.value)
    assert bench.files() == before
