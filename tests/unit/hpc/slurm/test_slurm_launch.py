"""Launches on a Slurm that runs each job at once, in this process, with fake_commands.py."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_launch import programs

from deeptool.errors import UserError, WorkError
from hpc.broker.discovery import Descriptor, Discovery
from hpc.commands import down, launch, logs, status
from hpc.run.run_folder import RunFolder
from hpc.slurm import scheduler
from hpc.slurm.broker_job import BrokerWork
from hpc.slurm.scheduler import Queued
from hpc.slurm.stop_request import DOWN, stop_brokers

CAMPAIGN = """
name = "search"
settings = "settings.py"
backend = "slurm"
[images]
use = false
[slurm]
time = 60
poll_seconds = 1
[producers]
variants = [{procID = 0, hparams = {size = 16}}, {procID = 1, hparams = {size = 32}}]
[trials]
grid = { size = [16, 32], lr = [1, 2] }
"""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2)


class Slurm:
    """The queue, and how jobs run in it."""

    def __init__(self, run: RunFolder) -> None:
        self.run, self.jobs = run, {}
        self.cancelled: list[str] = []
        self.requeued: list[str] = []
        self.held = False
        self.refuses: str | None = None
        # Batch -> the state in which its jobs end before they have begun.
        self.lost: dict[str, str] = {}
        self.during: Callable[[str], None] = lambda job: None

    def __call__(self, folder: Path) -> Slurm:
        return self

    def submit(
        self, works: Sequence[Callable[[], None]], parameters: Mapping[str, Any]
    ) -> list[str]:
        name = parameters["job_name"]
        if self.refuses and self.refuses in name:
            raise UserError("Slurm refuses a job of this campaign", seen="no such partition")
        number = len({job.split("_")[0] for job in self.jobs}) + 1
        ids = [f"{number}_{n}" for n in range(len(works))] if len(works) > 1 else [str(number)]
        for job, work in zip(ids, works, strict=True):
            lost = [state for batch, state in self.lost.items() if f"-{batch}-" in name]
            state = lost[0] if lost else "PENDING" if self.held else self._run(job, work)
            self.jobs[job] = Queued(job, state, "Resources", "n1", name)
        return ids

    def _run(self, job: str, work: Callable[[], None]) -> str:
        if isinstance(work, BrokerWork):
            ready = Descriptor(work.run, job, 0, 0, 1, "ready", "127.0.0.1:1", host="n1")
            Discovery(self.run.services, work.run).write(ready)
            return "RUNNING"
        os.environ["SLURM_JOB_ID"] = job
        self.during(job)
        try:
            work()
        except WorkError:
            return "FAILED"
        return "COMPLETED"

    def queue(self) -> dict[str, Queued]:
        stop = self.run.services / "stop.json"
        for job, seen in self.jobs.items():
            if "-broker-" in seen.name and stop.exists() and seen.live:
                self.jobs[job] = Queued(job, "COMPLETED", "", "n1", seen.name)
                registry = Discovery(self.run.services, self.run.state().id)
                said = registry.read()
                if said is not None:
                    registry.write(replace(said, state="stopped"))
        return dict(self.jobs)

    def cancel(self, ids: Sequence[str]) -> None:
        for job in ids:
            seen = self.jobs[job]
            self.cancelled.append(job)
            self.jobs[job] = Queued(job, "CANCELLED", "", "", seen.name)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    environment = dict(os.environ)
    yield Bench(tmp_path, monkeypatch)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(environment)


class Bench:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "store").mkdir()
        (folder / "settings.py").write_text("hparams = {}\n")
        self.file = folder / "search.toml"
        self.file.write_text(CAMPAIGN)
        self.run = RunFolder(folder / "runs" / "search")
        self.slurm = Slurm(self.run)
        self.fetched: list[str] = []
        monkeypatch.chdir(folder)
        monkeypatch.setenv("FAKE_STORE", str(folder / "store"))
        monkeypatch.setattr(launch, "launch", partial(launch.launch, programs=programs))
        monkeypatch.setattr("hpc.slurm.submit.SlurmExecutor", self.slurm)
        for name in ("worker", "finish"):
            monkeypatch.setattr(f"hpc.slurm.{name}.installed", programs)
        for name in ("queue", "cancel"):
            monkeypatch.setattr(scheduler, name, getattr(self.slurm, name))
        monkeypatch.setattr(scheduler, "requeue", self.slurm.requeued.append)
        monkeypatch.setattr(scheduler, "check_there", lambda: None)
        monkeypatch.setattr(
            "hpc.slurm.backend.jars.runtime", lambda progress, mode: self.fetched.append(mode)
        )
        monkeypatch.setattr(scheduler, "max_array_size", lambda: 1001)
        monkeypatch.setattr(scheduler, "history", lambda ids: {})
        monkeypatch.setattr("hpc.slurm.worker.time.sleep", lambda seconds: None)
        monkeypatch.setattr("hpc.slurm.watching._SURE_SECONDS", 0.1)

    def launch(self, *words: str) -> Result:
        return CliRunner().invoke(launch.command, [str(self.file), *words])

    def once_it_trains(self, job: str, signum: signal.Signals) -> None:
        """Signal the trial that `job` runs when it has begun; of another job nothing."""

        def send() -> None:
            config = self.run.trial(int(job.partition("_")[2] or 0)) / "config.json"
            for _ in range(2000):
                if config.exists():
                    break
                threading.Event().wait(0.01)
            os.kill(os.getpid(), signum)

        if job.startswith("3"):
            threading.Thread(target=send, daemon=True).start()

    def states(self) -> dict[str, str]:
        from hpc.run.snapshot import take_snapshot

        return {row.name: row.state for row in take_snapshot(self.run).rows}


def test_everything_runs_and_the_broker_is_let_go(bench: Bench) -> None:
    result = bench.launch()
    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if line.startswith("submitted")] == [
        "submitted broker: job 1",
        "submitted producers: job 2, 2 tasks",
        "submitted trials: job 3, 4 tasks",
        "submitted finish: job 4",
    ]
    assert bench.fetched == ["zookeeper"]
    assert set(bench.states().values()) == {"complete"}
    assert "producer-0 complete: s.0.train: stored 100 samples, 1.0 MB" in result.output
    assert "trial-3 complete: val_loss 0.25" in result.output
    assert (bench.run.folder / "report.html").exists()
    assert len(list((bench.run.folder / "report").glob("*.png"))) == 2
    shown = CliRunner().invoke(status.command, [str(bench.run.folder)])
    assert "4 of 4 trials" in shown.output
    log = CliRunner().invoke(logs.command, [str(bench.run.folder), "trial", "0", "--follow"])
    assert "training" in log.output


def test_a_second_launch_runs_what_is_new(bench: Bench) -> None:
    assert bench.launch().exit_code == 0
    again = bench.launch()
    assert again.exit_code == 0, again.output
    assert "4 of 4 trials are complete" in again.output
    assert "submitted" not in again.output
    more = bench.launch("--grid", "lr=3")
    assert more.exit_code == 0, more.output
    assert "submitted trials: job 7, 2 tasks" in more.output
    assert "is there already" in more.output
    assert set(bench.states().values()) == {"complete"}
    assert len(bench.states()) == 1 + 2 + 6


def test_failures_are_named(bench: Bench) -> None:
    result = bench.launch("--set", "hparams.fail=3")
    assert isinstance(result.exception, WorkError)
    assert "4 of 4 trials failed" in str(result.exception)
    assert " failed: the loss is not a number" in result.output
    refused = bench.launch("--fresh", "--set", "hparams.refuse=1")
    assert "2 of 2 producers failed" in str(refused.exception)
    assert "holds a complete dataset" in refused.output


def test_what_slurm_refuses_leaves_nothing_in_the_queue(bench: Bench) -> None:
    bench.slurm.refuses = "-trials-"
    result = bench.launch()
    assert isinstance(result.exception, UserError)
    assert "cancelled what had been submitted" in result.output
    assert "1" in bench.slurm.cancelled
    assert not any(seen.live for seen in bench.slurm.jobs.values())
    bench.slurm.refuses = None
    assert bench.launch().exit_code == 0


def test_options_of_the_environment_are_not_dropped_without_a_word(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    bench.slurm.held = True
    result = bench.launch("--detach")
    assert "not used: SBATCH_PARTITION of your environment" in result.output


def test_a_detached_launch_is_joined_and_ended(bench: Bench) -> None:
    bench.slurm.held = True
    result = bench.launch("--detach")
    assert result.exit_code == 0, result.output
    assert "the jobs continue: deeptool-hpc status" in result.output
    assert set(bench.states().values()) == {"waiting"}
    more = bench.launch("--grid", "lr=3")
    assert "this one has more" in str(more.exception)
    joined = bench.launch("--detach")
    assert "the jobs are in the queue already" in joined.output
    assert len(bench.slurm.jobs) == 8
    ended = CliRunner().invoke(down.command, [str(bench.run.folder)])
    assert ended.exit_code == 0, ended.output
    assert "broker (1)" in ended.output
    assert sorted(set(bench.slurm.cancelled)) == sorted(bench.slurm.jobs)
    nothing = CliRunner().invoke(down.command, [str(bench.run.folder)])
    assert "nothing of" in nothing.output


def files(bench: Bench) -> dict[str, str]:
    """Every file of the run folder but the lock, and every folder."""
    paths = [path for path in bench.run.folder.rglob("*") if path.name != ".lock"]
    return {str(path): path.read_text() if path.is_file() else "" for path in paths}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid", "lr=3"], "trial-4, trial-5"),
        (["--set", "broker.idle_minutes=5"], "broker.idle_minutes: 720 -> 5"),
        (["--set", "slurm.time=90"], 'slurm.time: "60" -> "90"'),
    ],
)
def test_a_refused_launch_leaves_queued_jobs_alone(
    bench: Bench, words: list[str], said: str
) -> None:
    bench.slurm.held = True
    assert bench.launch("--detach").exit_code == 0
    before = files(bench)
    refused = bench.launch(*words)
    assert isinstance(refused.exception, UserError), refused.output
    assert said in str(refused.exception)
    assert f"deeptool-hpc down {bench.run.folder}" in str(refused.exception)
    assert files(bench) == before
    joined = bench.launch("--detach", "--no-images", "--set", "report=false")
    assert joined.exit_code == 0, joined.output
    assert "these changes do not reach them:\n    report: true -> false" in joined.output
    assert files(bench) == before
    assert bench.slurm.cancelled == []


def test_trials_that_were_never_noted_keep_their_numbers(bench: Bench) -> None:
    assert bench.launch().exit_code == 0
    assert bench.launch("--grid", "lr=3").exit_code == 0
    # The first four are not in this launch's plan; what they are is known all the same.
    assert len(bench.states()) == 1 + 2 + 6
    again = bench.launch("--grid", "lr=1,2,3")
    assert again.exit_code == 0, again.output
    assert "6 of 6 trials are complete" in again.output
    assert "submitted" not in again.output


def test_an_edit_outdates_trials_and_its_undoing_brings_them_back(bench: Bench) -> None:
    settings = bench.file.with_name("settings.py")
    settings.write_text("train 1\n")
    assert bench.launch().exit_code == 0
    settings.write_text("train 2\n")
    edited = bench.launch()
    assert edited.exit_code == 0, edited.output
    said = "outdated trials of earlier launches: trial-0, trial-1, trial-2, trial-3"
    assert f"{said} (training code changed: get_optimizer)" in edited.output
    states = bench.states()
    assert [states[f"trial-{n}"] for n in range(8)] == ["outdated"] * 4 + ["complete"] * 4
    # Each ran with what its launch found, and the data was stored once.
    trained = {bench.run.result(n)["code"] for n in range(4)}
    assert len(trained) == 1
    assert trained.isdisjoint({bench.run.result(n)["code"] for n in range(4, 8)})
    shown = CliRunner().invoke(status.command, [])
    assert "outdated, not compared with the others: 0, 1, 2, 3 (training code" in shown.output

    settings.write_text("# as it was\ntrain 1\n")
    undone = bench.launch()
    assert undone.exit_code == 0, undone.output
    assert "4 of 4 trials are complete" in undone.output
    assert "submitted" not in undone.output


def test_jobs_that_begin_later_run_with_what_was_launched(bench: Bench) -> None:
    settings = bench.file.with_name("settings.py")
    settings.write_text("train 1\ndata 1\n")

    def edit(job: str) -> None:
        settings.write_text(f"train {job}\ndata {job}\n")

    bench.slurm.during = edit
    assert bench.launch().exit_code == 0
    assert len({bench.run.result(n)["code"] for n in range(4)}) == 1
    settings.write_text("train 1\ndata 1\n")
    again = bench.launch()
    assert "4 of 4 trials are complete" in again.output
    assert "outdated" not in again.output


def test_a_trial_that_diverged_is_an_end_and_no_failure(bench: Bench) -> None:
    words = ("--set", "hparams.diverge=1")
    result = bench.launch(*words)
    assert result.exit_code == 0, result.output
    assert {bench.states()[f"trial-{n}"] for n in range(4)} == {"diverged"}
    assert bench.run.state().state == "running"
    assert "search complete" in CliRunner().invoke(status.command, []).output
    again = bench.launch(*words)
    assert "submitted" not in again.output


def test_another_users_campaign_is_not_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.launch().exit_code == 0
    monkeypatch.setattr("hpc.commands.down.os.getuid", lambda: os.geteuid() + 1)
    result = CliRunner().invoke(down.command, [str(bench.run.folder)])
    assert isinstance(result.exception, UserError)
    assert "another user's" in str(result.exception)


def test_jobs_that_go_without_an_end(bench: Bench) -> None:
    bench.slurm.held = True
    assert bench.launch("--detach").exit_code == 0
    watching = bench.slurm.queue

    def gone() -> dict[str, Queued]:
        seen = watching()
        # Once it is watched that somebody cancels it all.
        bench.slurm.cancel([job for job in seen if seen[job].live])
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "queue", gone)
        result = bench.launch()
    assert isinstance(result.exception, WorkError)
    assert "have gone from the queue before their end" in str(result.exception)
    assert bench.run.state().state == "failed"


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL", "TIMEOUT"])
def test_a_last_job_that_is_lost_keeps_nobody_waiting(bench: Bench, state: str) -> None:
    bench.slurm.lost = {"finish": state}
    result = bench.launch()
    assert result.exit_code == 0, result.output
    how = state.lower().replace("_", " ")
    assert f"the job finish was lost (Slurm: {how}): this launch writes the report" in result.output
    assert (bench.run.folder / "report.html").exists()
    assert set(bench.states().values()) == {"complete"}
    # The broker was let go.
    assert not any(seen.live for seen in bench.slurm.queue().values())


@pytest.mark.parametrize("batch", ["producers", "trials"])
def test_jobs_that_were_cancelled_are_named_and_no_success(bench: Bench, batch: str) -> None:
    bench.slurm.lost = {batch: "CANCELLED"}
    if batch == "producers":
        bench.slurm.lost["trials"] = "CANCELLED"
    result = bench.launch()
    assert isinstance(result.exception, WorkError)
    message = str(result.exception)
    role, count = ("producer", 2) if batch == "producers" else ("trial", 4)
    assert f"{count} of {count} {role}s cancelled" in message
    assert f"seen: {role}-0 (Slurm: cancelled on n1), {role}-1 (Slurm: canc" in message
    # There is no log to be read.
    assert "next: the same launch runs them again" in message
    assert f"{role}-0 cancelled: Slurm: cancelled" in result.output


def test_an_interrupted_trial_is_no_success(bench: Bench) -> None:
    text = CAMPAIGN.replace("size = [16, 32], lr = [1, 2]", "size = [16], sleep = [30]")
    bench.file.write_text(text)
    bench.slurm.during = lambda job: bench.once_it_trains(job, signal.SIGTERM)
    result = bench.launch()
    assert isinstance(result.exception, WorkError), result.output
    assert "1 of 1 trials interrupted" in str(result.exception)


def test_a_campaign_that_is_being_stopped_gets_no_report(bench: Bench) -> None:
    bench.slurm.lost = {"finish": "CANCELLED"}
    bench.slurm.during = lambda job: stop_brokers(bench.run, bench.run.state().id, DOWN)
    result = bench.launch()
    assert "have gone from the queue before their end" in str(result.exception)
    assert not (bench.run.folder / "report.html").exists()


def test_a_warned_trial_is_requeued_and_goes_on(bench: Bench) -> None:
    bench.file.write_text(CAMPAIGN.replace("lr = [1, 2]", "lr = [1], sleep = [30]"))
    bench.slurm.during = lambda job: bench.once_it_trains(job, signal.SIGUSR2)
    result = bench.launch()
    assert bench.slurm.requeued == ["3_0", "3_1"], result.output
    record = bench.run.record("trial-0").read_text()
    assert '"exit_code": 143' in record


def test_a_trial_whose_broker_is_lost_says_so(bench: Bench) -> None:
    def lose(job: str) -> None:
        if job.startswith("3"):
            registry = Discovery(bench.run.services, bench.run.state().id)
            seen = registry.read()
            assert seen is not None
            registry.write(replace(seen, state="stopped", note="idle"))

    bench.slurm.during = lose
    result = bench.launch()
    assert isinstance(result.exception, WorkError)
    assert " failed: the campaign's broker has stopped" in result.output
