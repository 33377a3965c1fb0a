"""Launches with real processes that stand in for the real commands."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result
from fake_launch import ForkingExecutor, programs
from paths import HELPERS

from deeptool.errors import UserError, WorkError
from deeptool.files import read_json
from hpc.commands import down, launch, logs, status
from hpc.local.executor import LocalExecutor
from hpc.local.leftover import running_processes
from hpc.run.run_folder import RunFolder

SECONDS = 60

CAMPAIGN = """
name = "search"
settings = "settings.py"
[producers]
variants = [{procID = 0, hparams = {size = 16}}, {procID = 1, hparams = {size = 32}}]
[trials]
max_parallel = 2
grid = { size = [16, 32], lr = [1, 2] }
"""


class Bench:
    """A campaign in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.store.mkdir()
        (folder / "settings.py").write_text("hparams = {}\n")
        self.file = folder / "search.toml"
        self.file.write_text(CAMPAIGN)
        self.run = RunFolder(folder / "runs" / "search")
        self.started: list[subprocess.Popen[str]] = []
        monkeypatch.chdir(folder)
        monkeypatch.setenv("FAKE_STORE", str(self.store))
        for name in ("launch", "dry_run"):
            replacement = partial(getattr(launch, name), programs=programs)
            monkeypatch.setattr(launch, name, replacement)

    def launch(self, *words: str) -> Result:
        return CliRunner().invoke(launch.command, [str(self.file), *words])

    def start(self, *words: str, fork: str = "yes") -> subprocess.Popen[str]:
        """A launch as a process of its own, whose trials take a minute."""
        process = subprocess.Popen(
            [sys.executable, HELPERS / "fake_launch.py", self.file, *words],
            cwd=self.folder,
            env={**os.environ, "FAKE_FORK": fork, "FAKE_SLEEP": "60"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def calls(self) -> list[str]:
        """What the commands said they did, in order."""
        file = self.store / "calls"
        if not file.exists():
            return []
        return [json.loads(line)[0] for line in file.read_text().splitlines()]

    def wait_for_two_trials(self) -> None:
        deadline = time.monotonic() + SECONDS
        while sum(call.endswith("begins") for call in self.calls()) < 2:
            assert time.monotonic() < deadline, self.calls()
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """Whatever of this campaign still runs, found by its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FAKE_STORE") == str(self.store):
                    found.append(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return [pid for pid in found if pid != os.getpid()]

    def jobs(self) -> list[Mapping[str, float]]:
        """What runs the broker and the trials."""
        running = running_processes(self.run).values()
        return [found["job"] for found in running if "job" in found]

    def wait_until_nothing_runs(self) -> None:
        deadline = time.monotonic() + SECONDS
        while pids := self.processes():
            assert time.monotonic() < deadline, pids
            time.sleep(0.1)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    monkeypatch.setattr("hpc.local.backend.LocalExecutor", ForkingExecutor)
    yield made
    for pid in [*(process.pid for process in made.started), *made.processes()]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in made.started:
        process.communicate(timeout=SECONDS)


def state_of(bench: Bench) -> dict[str, str]:
    return {name: task.state for name, task in bench.run.state().tasks.items()}


def test_one_server_for_all_trials_which_ends_with_the_launch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SERVER_STAYS", "yes")
    assert bench.launch().exit_code == 0
    assert bench.calls()[-1] == "stopped trial_server --listener"
    bench.wait_until_nothing_runs()
    assert sum(call.endswith("ends") for call in bench.calls()) == 4
    # Nothing is left to train.
    assert bench.launch().exit_code == 0
    assert len((bench.store / "servers").read_text().split()) == 1


def test_from_nothing_to_the_report_and_then_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc.local.backend.LocalExecutor", LocalExecutor)
    result = bench.launch()
    assert result.exit_code == 0, result.output
    calls = bench.calls()
    assert calls[0] == "broker ready"
    assert {call for call in calls if call.startswith("stored")} == {"stored 0", "stored 1"}
    begins = {call: calls.index(call) for call in calls if call.endswith("begins")}
    assert len(begins) == 4
    for call, at in begins.items():
        trial = read_json(bench.run.trial(int(call.split()[1])) / "trial.json")
        assert calls.index(f"stored {trial['proc_id']}") < at
        assert trial["hparams"]["size"] == (16, 32)[trial["proc_id"]]
    assert calls[-1] == "stopped broker up"
    assert state_of(bench) == {
        **{"broker": "complete", "producer-0": "complete", "producer-1": "complete"},
        **{f"trial-{n}": "complete" for n in range(4)},
        **{f"view-s.{n}.train": "complete" for n in range(2)},
    }
    assert "producer-0 complete: s.0.train: stored 100 samples, 1.0 MB\n" in result.output
    assert "everything stopped" in result.output
    assert f"report: {bench.run.folder}/report.html" in result.output
    assert (bench.run.folder / "report" / "samples_s.0.train.png").exists()
    summary = read_json(bench.run.summary_file)
    assert summary["broker"] == {
        "cpu_seconds": 1.5,
        "mode": "zookeeper",
        "bootstrap": "127.0.0.1:1",
        "version": None,
    }
    assert sorted(row["topic"] for row in summary["uploads"]) == ["s.0.train", "s.1.train"]
    assert summary["trials"] == 4
    assert len(summary["timeline"]) == 9
    assert all(row["start"] <= row["end"] for row in summary["timeline"])
    assert bench.processes() == []

    # Nothing is left to do: only the report is written again.
    again = bench.launch()
    assert again.exit_code == 0
    assert bench.calls() == calls
    assert "4 of 4 trials are complete" in again.output
    assert read_json(bench.run.summary_file)["uploads"] == summary["uploads"]

    # More trials: what is stored is not stored again, and no trial is run twice.
    more = bench.launch("--grid", "lr=2,3", "--json")
    assert more.exit_code == 0, more.output
    added = bench.calls()[len(calls) :]
    assert sorted(call for call in added if not call.startswith("trial")) == [
        *("broker ready", "reused 0", "reused 1", "stopped broker up")
    ]
    assert {call for call in added if call.endswith("begins")} == {
        "trial 4 begins",
        "trial 5 begins",
    }
    values = json.loads(more.stdout)
    assert values["report"] == f"{bench.run.folder}/report.html"
    hparams = {row["name"]: row["hparams"] for row in values["rows"] if row["role"] == "trial"}
    assert len(hparams) == 6
    assert [hparams[f"trial-{n}"]["lr"] for n in (4, 5)] == [3, 3]
    assert [row["note"] for row in values["rows"] if row["role"] == "producer"] == [
        f"s.{n}.train: is there already (100 samples)" for n in range(2)
    ]
    # The broker was charged for each of the launches that had one.
    assert read_json(bench.run.summary_file)["broker"]["cpu_seconds"] == 1.5


def test_a_failed_trial_and_its_second_chance(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--grid", "size=16", "--grid", "lr=1", "--grid", "fail=0,3")
    result = bench.launch(*words)
    assert isinstance(result.exception, WorkError)
    assert "1 of 2 trials failed" in str(result.exception)
    assert f"deeptool-hpc logs {bench.run.folder} trial 1" in str(result.exception)
    assert "trial-1 failed: exit code 3: the loss is not a number" in result.output
    assert state_of(bench)["trial-0"] == "complete"
    assert bench.run.state().state == "failed"
    # No trial reads the other variant: it was not uploaded.
    assert "stored 1" not in bench.calls()

    shown = CliRunner().invoke(status.command, [])
    assert "search failed" in shown.output
    told = CliRunner().invoke(logs.command, ["trial", "1"])
    assert told.output == "training\nerror: the loss is not a number\n"

    monkeypatch.setenv("FAKE_FIXED", "yes")
    again = bench.launch(*words)
    assert again.exit_code == 0, again.output
    assert bench.calls().count("trial 0 begins") == 1
    assert bench.calls().count("trial 1 begins") == 2
    assert bench.run.state().state == "complete"


def test_trials_that_failed_in_an_earlier_search_are_not_this_launchs(bench: Bench) -> None:
    failing = ("--grid", "size=16", "--grid", "lr=1", "--grid", "fail=3")
    assert isinstance(bench.launch(*failing).exception, WorkError)
    result = bench.launch("--grid", "size=16", "--grid", "lr=1")
    assert result.exit_code == 0, result.output
    # It is shown all the same.
    assert state_of(bench) == state_of(bench) | {"trial-0": "failed", "trial-1": "complete"}


def test_a_producer_that_refuses(bench: Bench) -> None:
    result = bench.launch("--set", "hparams.refuse=1")
    assert isinstance(result.exception, UserError)
    assert "holds a complete dataset, but a different one\n  next: --replace" in str(
        result.exception
    )
    assert "logs/producer-" in str(result.exception)
    assert bench.calls()[-1] == "stopped broker up"
    assert not any(call.startswith("trial") for call in bench.calls())
    assert bench.processes() == []


def test_a_broker_that_dies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BROKER_DIES", "yes")
    monkeypatch.setenv("FAKE_UPLOAD_SECONDS", "60")
    result = bench.launch()
    assert isinstance(result.exception, WorkError)
    assert "broker ended with exit code 1: the disk is full" in str(result.exception)
    assert "stopped produce --usersettings" in bench.calls()
    assert [state_of(bench)[f"producer-{n}"] for n in range(2)] == ["interrupted"] * 2
    assert bench.run.state().state == "failed"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_everything_in_order(bench: Bench, signum: int, code: int) -> None:
    process = bench.start(fork="yes" if signum == signal.SIGTERM else "")
    bench.wait_for_two_trials()
    process.send_signal(signum)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, output
    assert "stopping trial-" in output
    ends = [call for call in bench.calls() if call.startswith("stopped")]
    assert ends == ["stopped train --usersettings"] * 2 + ["stopped broker up"]
    assert bench.processes() == []
    states = state_of(bench)
    assert sorted(states[f"trial-{n}"] for n in range(4)) == [
        *("interrupted", "interrupted", "waiting", "waiting")
    ]
    assert bench.run.state().state == "interrupted"

    # It goes on where it was.
    again = bench.launch()
    assert again.exit_code == 0, again.output
    calls = bench.calls()
    began = [call.split()[1] for call in calls if call.endswith("begins")]
    went_on = [call.split()[1] for call in calls if call.endswith("again")]
    assert sorted(began) == ["0", "1", "2", "3"]
    assert sorted(went_on) == sorted(began[:2])
    assert sum(call.startswith("stored") for call in calls) == 2
    assert sum(call.endswith("ends") for call in calls) == 4


def test_a_killed_launch_leaves_nothing_and_goes_on(bench: Bench) -> None:
    process = bench.start()
    bench.wait_for_two_trials()
    process.kill()
    process.communicate()
    # Its processes see that it is no more.
    bench.wait_until_nothing_runs()
    shown = CliRunner().invoke(status.command, ["--json"])
    assert json.loads(shown.output)["state"] == "killed"
    again = bench.launch()
    assert again.exit_code == 0, again.output
    assert sum(call.endswith("again") for call in bench.calls()) == 2
    assert sum(call.endswith("ends") for call in bench.calls()) == 4
    # What the broker took for the launch that was killed is charged too.
    assert read_json(bench.run.summary_file)["broker"]["cpu_seconds"] == 1.5


def test_what_a_killed_launch_has_left_is_stopped_first(bench: Bench) -> None:
    # Two trials end as soon as the launch is gone; the jobs that watch for that are stopped, as on
    # a machine that hangs.
    process = bench.start()
    bench.wait_for_two_trials()
    # A trial may say that it has begun before its job has noted it.
    deadline = time.monotonic() + SECONDS
    while len(jobs := bench.jobs()) < 3:
        assert time.monotonic() < deadline, jobs
        time.sleep(0.05)
    for job in jobs:
        os.kill(int(job["pid"]), signal.SIGSTOP)
    process.kill()
    process.wait()
    time.sleep(1)
    assert (
        len([name for name in running_processes(bench.run) if name.startswith(("broker", "trial"))])
        == 3
    )
    for job in jobs:
        os.kill(int(job["pid"]), signal.SIGCONT)
    result = CliRunner().invoke(down.command, [])
    assert result.exit_code == 0, result.output
    assert bench.processes() == []
    assert running_processes(bench.run) == {}


def test_one_launch_at_a_time_and_down(bench: Bench) -> None:
    process = bench.start()
    bench.wait_for_two_trials()
    second = bench.launch()
    assert isinstance(second.exception, UserError)
    assert f"process {process.pid}" in str(second.exception)
    assert "deeptool-hpc down" in str(second.exception)

    deadline = time.monotonic() + SECONDS
    while (shown := CliRunner().invoke(status.command, [str(bench.run.folder)])) and (
        "0 of 4 trials, 2 running" not in shown.output
    ):
        # A trial may speak before its launch has noted that it began.
        assert time.monotonic() < deadline, shown.output
        time.sleep(0.1)
    assert "search running" in shown.output

    bystander = subprocess.Popen(["sleep", "60"])
    stopped = CliRunner().invoke(down.command, [])
    assert stopped.exit_code == 0, stopped.output
    first = stopped.output.splitlines()[0]
    assert first.startswith("stopped: broker, trial-")
    assert first.endswith("the launch itself")
    process.communicate(timeout=SECONDS)
    assert process.returncode == 143
    assert bench.processes() == [bystander.pid]
    bystander.kill()
    bystander.wait()
    assert "nothing of" in CliRunner().invoke(down.command, []).output


ONE = ("--grid", "size=16", "--grid", "lr=1")


def edit(bench: Bench, text: str) -> None:
    (bench.folder / "settings.py").write_text(text)


def test_what_an_edit_outdates_is_run_again_and_nothing_else(bench: Bench) -> None:
    edit(bench, "data 1\ntrain 1\n")
    assert bench.launch(*ONE).exit_code == 0
    # What neither the samples nor the training depend on.
    calls = bench.calls()
    edit(bench, "# a remark\ndata 1\ntrain 1\n")
    same = bench.launch(*ONE)
    assert same.exit_code == 0, same.output
    assert bench.calls() == calls
    assert "1 of 1 trials are complete" in same.output

    # The optimizer: no upload.
    edit(bench, "data 1\ntrain 2\n")
    dry = bench.launch(*ONE, "--dry-run")
    assert ": trial-0 (training code changed: get_optimizer)" in dry.output
    assert "trial-1: after producer-0" in dry.output
    facts = json.loads(bench.launch(*ONE, "--dry-run", "--json").output)
    assert facts["run"] == ["broker", "producer-0", "trial-1"]
    assert facts["outdated"] == {"trial-0": "training code changed: get_optimizer"}
    assert bench.calls() == calls
    result = bench.launch(*ONE)
    assert result.exit_code == 0, result.output
    assert bench.calls().count("stored 0") == 1
    assert bench.calls().count("reused 0") == 1
    assert "trial 1 begins" in bench.calls()
    assert "outdated, not compared with the others: 0 (training code changed" in result.output

    # The pipeline: one upload, and why.
    edit(bench, "data 2\ntrain 2\n")
    result = bench.launch(*ONE)
    assert result.exit_code == 0, result.output
    assert "producer-0 uploads again" in result.output
    assert "samples changed: pipeline" in result.output
    assert bench.calls().count("stored 0") == 2
    assert "trial 2 begins" in bench.calls()

    # Undone: nothing runs, and what is stored is told of.
    calls = bench.calls()
    edit(bench, "data 1\ntrain 2\n")
    result = bench.launch(*ONE)
    assert result.exit_code == 0, result.output
    assert bench.calls() == calls
    assert "what producer-0 stored last is of other code" in result.output
    states = {row["name"]: row["state"] for row in json.loads(shown_status())["rows"]}
    assert [states[f"trial-{n}"] for n in range(3)] == ["outdated", "complete", "outdated"]


def shown_status() -> str:
    return CliRunner().invoke(status.command, ["--json"]).output


def test_other_options_outdate_trials_too(bench: Bench) -> None:
    assert bench.launch(*ONE).exit_code == 0
    result = bench.launch(*ONE, "--set", "trials.options=['--reader', 'tfio']")
    assert result.exit_code == 0, result.output
    assert ': trial-0 (trials.options: [] -> ["--reader", "tfio"])' in result.output
    assert bench.calls().count("trial 1 begins") == 1
    assert "1 of 1 trials are complete" in bench.launch(*ONE).output


def test_trials_that_failed_before_an_edit_fail_no_later_launch(bench: Bench) -> None:
    failing = (*ONE, "--grid", "fail=0,3")
    edit(bench, "train 1\n")
    assert isinstance(bench.launch(*failing).exception, WorkError)
    edit(bench, "train 2\n")
    result = bench.launch(*ONE)
    assert result.exit_code == 0, result.output
    states = {row["name"]: row["state"] for row in json.loads(shown_status())["rows"]}
    assert [states[f"trial-{n}"] for n in range(3)] == ["outdated", "outdated", "complete"]
    assert read_json(bench.run.summary_file)["state"] == "complete"


def test_trials_that_wait_run_with_what_was_launched(bench: Bench) -> None:
    edit(bench, "train 1\n")
    words = ("--grid", "size=16", "--grid", "lr=1,2", "--max-parallel", "1")
    process = bench.start(*words, "--set", "hparams.sleep=1")
    while "trial 0 begins" not in bench.calls():
        time.sleep(0.05)
    edit(bench, "train 2\n")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    edit(bench, "train 1\n")
    assert bench.launch(*words, "--set", "hparams.sleep=1").exit_code == 0
    assert "trial 0 again" in bench.calls()
    assert bench.run.result(1)["code"] == hashlib.sha256(b"train 1").hexdigest()


def test_a_diverged_trial_is_kept_and_fails_nothing(bench: Bench) -> None:
    words = (*ONE, "--grid", "diverge=0,1")
    result = bench.launch(*words)
    assert result.exit_code == 0, result.output
    assert "trial-1 diverged: " in result.output
    assert state_of(bench)["trial-1"] == "diverged"
    assert bench.run.state().state == "complete"
    assert "2 of 2 trials, 1 diverged" in CliRunner().invoke(status.command, []).output
    calls = bench.calls()
    assert bench.launch(*words).exit_code == 0
    assert bench.calls() == calls


def existing(bench: Bench) -> tuple[str, ...]:
    return (*ONE, "--set", "broker.bootstrap_servers=['127.0.0.1:1']")


def test_what_others_stored_is_replaced_only_where_that_is_said(bench: Bench) -> None:
    edit(bench, "data 1\n")
    assert bench.launch(*existing(bench), "--run-dir", "other").exit_code == 0
    edit(bench, "data 2\n")
    result = bench.launch(*existing(bench))
    assert isinstance(result.exception, UserError)
    assert "s.0.train is different, uploaded by campaign:" in str(result.exception)
    assert "--replace" in str(result.exception)
    assert not bench.run.state_file.exists()
    replaced = bench.launch(*existing(bench), "--replace")
    assert replaced.exit_code == 0, replaced.output
    assert bench.calls().count("stored 0") == 2
    # Its own, from now on.
    edit(bench, "data 3\n")
    assert bench.launch(*existing(bench)).exit_code == 0
    assert bench.calls().count("stored 0") == 3


def test_a_campaign_without_producers_reads_what_is_there(bench: Bench) -> None:
    words = (*existing(bench), "--set", "producers.upload=false")
    missing = bench.launch(*words)
    assert isinstance(missing.exception, UserError)
    assert "s.0.train is absent" in str(missing.exception)
    edit(bench, "data 1\n")
    assert bench.launch(*existing(bench), "--run-dir", "other").exit_code == 0
    result = bench.launch(*words)
    assert result.exit_code == 0, result.output
    assert set(state_of(bench)) == {"trial-0", "view-s.0.train"}
    assert len(read_json(bench.run.summary_file)["uploads"]) == 1
    edit(bench, "data 2\n")
    differs = bench.launch(*words, "--grid", "lr=2")
    assert "s.0.train is different" in str(differs.exception)
    always = bench.launch(*words, "--grid", "lr=2", "--set", "producers.reuse=always")
    assert always.exit_code == 0, always.output


def test_warnings_of_the_settings_are_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WARNS", "yes")
    assert "the raw data changed" in bench.launch(*ONE).output
    assert "the raw data changed" in bench.launch(*ONE, "--dry-run").output


def test_fresh_deletes_nothing_that_is_not_its_own(bench: Bench) -> None:
    assert bench.launch("--grid", "size=16", "--grid", "lr=1").exit_code == 0
    (bench.run.folder / "notes.txt").write_text("mine")
    elsewhere = bench.folder / "kept"
    words = (
        "--fresh",
        "--grid",
        "size=16",
        "--grid",
        "lr=2",
        "--set",
        f"broker.folder={elsewhere}",
    )
    assert bench.launch(*words).exit_code == 0
    assert bench.launch(*words).exit_code == 0
    assert (bench.run.folder / "notes.txt").read_text() == "mine"
    assert (elsewhere / "state.json").exists()
    assert not (bench.run.folder / "trials" / "1").exists()


def test_data_that_is_not_kept(bench: Bench) -> None:
    data = bench.run.folder / "broker" / "data"
    data.mkdir(parents=True)
    words = ("--grid", "size=16", "--grid", "lr=1")
    assert bench.launch(*words).exit_code == 0
    assert data.exists()
    assert bench.launch(*words, "--grid", "lr=2", "--set", "broker.keep_data=false").exit_code == 0
    assert not data.exists()


def test_a_dry_run_runs_nothing(bench: Bench) -> None:
    result = bench.launch("--dry-run")
    assert result.output.startswith(f"campaign search: 7 processes, in {bench.run.folder}")
    values = json.loads(bench.launch("--dry-run", "--json").output)
    assert [task["name"] for task in values["tasks"]][:3] == ["broker", "producer-0", "producer-1"]
    assert values["max_parallel"] == 2
    assert not bench.run.folder.exists()


def test_uploads_alone(bench: Bench) -> None:
    bench.file.write_text(CAMPAIGN.partition("[trials]")[0])
    result = bench.launch()
    assert result.exit_code == 0, result.output
    assert sorted(bench.calls()[1:3]) == ["stored 0", "stored 1"]
    assert "report:" not in result.output
    assert len(read_json(bench.run.summary_file)["uploads"]) == 2


def refusal(command: Any, words: Sequence[str]) -> str:
    result = CliRunner().invoke(command, list(words))
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


def test_questions_about_nothing(bench: Bench) -> None:
    assert "no campaign was launched here" in refusal(status.command, [])
    assert "no campaign was launched there" in refusal(down.command, [str(bench.folder)])
    assert "logs takes a role" in refusal(logs.command, ["runs", "nonsense"])
    bench.run.folder.mkdir(parents=True)
    bench.run.folder.chmod(0o500)
    if os.geteuid():
        assert "cannot be written" in str(bench.launch().exception)


def test_logs_say_what_there_is(bench: Bench) -> None:
    assert bench.launch("--grid", "size=16", "--grid", "lr=1,2").exit_code == 0
    assert "there is not just one trial" in refusal(logs.command, ["trial"])
    assert "trial 1: complete, " in refusal(logs.command, ["trial", "7"])
    followed = CliRunner().invoke(logs.command, [str(bench.run.folder), "trial", "1", "-f"])
    assert followed.output == "training\n"
    watched = CliRunner().invoke(status.command, ["--watch"])
    assert watched.exit_code == 0
    assert "search complete" in watched.output
