"""Which task begins when, in a run without processes."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deeptool import outcome
from deeptool.errors import Terminated, UserError, WorkError
from deeptool.files import read_json, write_json
from deeptool.outcome import CommandError, Outcome
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan, outcome_file
from hpc.campaign.task import Task
from hpc.local.runner import Runner, startable
from hpc.processes.caught_signals import USUAL, CaughtSignals
from hpc.processes.container import installed
from hpc.processes.identity import identity
from hpc.processes.job import Job
from hpc.processes.record import JobRecord, write_job_record
from hpc.run.backend import LaunchContext
from hpc.run.run_folder import RunFolder
from hpc.run.screen import Screen
from hpc.run.state import BrokerAccount, RunState, new_task_state


def trial(index: int, *after: str) -> Task:
    return Task(f"trial-{index}", "trial", index, ("deeptool", "train"), after)


def producer(index: int) -> Task:
    return Task(f"producer-{index}", "producer", index, ("deeptool", "produce"), ("broker",))


BROKER = Task("broker", "broker", 0, ("deeptool-hpc", "broker", "up"))


def test_nothing_begins_before_what_it_comes_after() -> None:
    tasks = [BROKER, producer(0), producer(1), trial(0, "producer-0"), trial(1, "producer-1")]
    states = {task.name: "waiting" for task in tasks}

    def begins() -> list[str]:
        return [task.name for task in startable(tasks, states, 2)]

    assert begins() == ["broker"]
    states["broker"] = "running"
    assert begins() == []
    states["broker"] = "ready"
    assert begins() == ["producer-0", "producer-1"]
    states |= {"producer-0": "running", "producer-1": "complete"}
    assert begins() == ["trial-1"]
    states |= {"producer-0": "failed"}
    assert begins() == ["trial-1"]


def test_no_more_trials_at_a_time_than_asked() -> None:
    tasks = [producer(0), *(trial(index) for index in range(5))]
    states = {task.name: "waiting" for task in tasks} | {"producer-0": "running"}
    assert [task.name for task in startable(tasks, states, 2)] == ["trial-0", "trial-1"]
    states |= {"trial-0": "running", "trial-1": "failed"}
    assert [task.name for task in startable(tasks, states, 2)] == ["trial-2"]
    states |= {"trial-2": "running"}
    assert startable(tasks, states, 2) == []


class FakeRunning:
    """A job that ends when it is told to, or at once."""

    controller: Mapping[str, float] = {"pid": 2**22, "started": 0.0}

    def __init__(self, job: Job, code: int | None, error: str | None, deaf: bool) -> None:
        self.job, self._deaf = job, deaf
        self.asked: list[str] = []
        self._ended = False
        if code is not None:
            self.end(code, error)

    def end(self, code: int, error: str | None = None) -> None:
        record = JobRecord(self.job.name, exit_code=code, end=time.time(), tail=("the end",))
        write_job_record(self.job.record, record)
        if error is not None:
            said = CommandError(message=error, what=error.splitlines()[0])
            path = outcome_file(self.job.record.parents[1], self.job.name)
            outcome.write(path, Outcome(code, said))
        self._ended = True

    def done(self) -> bool:
        return self._ended

    def stop(self) -> None:
        self.asked.append("stop")
        if not self._deaf:
            self.end(143)

    def kill(self) -> None:
        self.asked.append("kill")
        self._ended = True


class FakeExecutor:
    """Jobs end with the codes they are given; brokers, and those given None, run on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.codes: dict[str, int | None] = {"broker": None}
        self.errors: dict[str, str] = {}
        self.deaf: set[str] = set()
        self.jobs: dict[str, FakeRunning] = {}
        self.order: list[str] = []
        self.on_submit: Callable[[str], None] = lambda name: None

    def submit(self, job: Job) -> FakeRunning:
        self.order.append(job.name)
        if job.name == "broker":
            own = identity(1)
            write_job_record(job.record, JobRecord(job.name, processes={"process": own}))
            state = {"state": "ready", "supervisor": own, "bootstrap": "h:1", "mode": "kraft"}
            write_json(self.folder / "broker" / "state.json", state)
        if job.name.startswith("trial-") and self.codes.get(job.name, 0) == 0:
            folder = self.folder / "trials" / job.name.removeprefix("trial-")
            write_json(folder / "result.json", {"status": "complete", "best": {"val_loss": 0.5}})
        code = self.codes.get(job.name, 0)
        running = FakeRunning(job, code, self.errors.get(job.name), job.name in self.deaf)
        self.jobs[job.name] = running
        self.on_submit(job.name)
        return running


class Bench:
    """A runner with its surroundings."""

    def __init__(self, folder: Path, tasks: list[Task], max_parallel: int = 1) -> None:
        self.run = RunFolder(folder)
        self.run.prepare(tasks)
        (folder / "broker").mkdir()
        self.executor = FakeExecutor(folder)
        self.said = io.StringIO()
        self.signals = CaughtSignals(*USUAL)
        self.uploads: list[str] = []
        now = time.time()
        waiting = {task.name: new_task_state(task) for task in tasks}
        account = BrokerAccount(str(folder / "broker"))
        state = RunState("c", "local", "r", {}, "running", now, now, waiting, broker=account)
        plan = Plan("c", folder, None, None, tuple(tasks), max_parallel)
        (folder / "settings.py").touch()
        campaign = Campaign(name="c", settings=folder / "settings.py")
        screen = Screen(Console(file=self.said))
        context = LaunchContext(
            *(campaign, plan, tuple(tasks), self.run, screen, self.signals, installed)
        )
        self.runner = Runner(context, state, self.executor, self.uploaded)

    def uploaded(self, server: str) -> tuple[list[dict[str, Any]], list[Task]]:
        self.uploads.append(server)
        return [{"topic": "t"}], [Task("view-t", "view", 0, ("deeptool", "view"))]

    def states(self) -> dict[str, str]:
        return {name: task.state for name, task in self.runner.state.tasks.items()}


ALL = [BROKER, producer(0), trial(0, "producer-0"), trial(1, "producer-0"), trial(2, "producer-0")]


def test_everything_in_its_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)
    bench.runner.run()
    assert bench.executor.order[:3] == ["broker", "producer-0", "trial-0"]
    assert sorted(bench.executor.order[3:]) == ["trial-1", "trial-2", "view-t"]
    assert bench.uploads == ["h:1"]
    assert bench.states() == {
        "broker": "ready",
        "producer-0": "complete",
        "trial-0": "complete",
        "trial-1": "complete",
        "trial-2": "complete",
        "view-t": "complete",
    }
    assert bench.executor.jobs["trial-0"].asked == []
    bench.runner.stop()
    assert bench.executor.jobs["broker"].asked == ["stop"]
    assert read_json(tmp_path / "state.json")["tasks"]["broker"]["state"] == "complete"
    assert read_json(tmp_path / "trials" / "1" / "trial.json") == {
        "index": 1,
        "hparams": {},
        "proc_id": None,
    }
    assert "trial-1 complete: val_loss 0.5" in bench.said.getvalue()


def test_a_slot_is_refilled_as_soon_as_it_is_free(tmp_path: Path) -> None:
    tasks = [BROKER, producer(0), *(trial(index, "producer-0") for index in range(4))]
    bench = Bench(tmp_path, tasks, max_parallel=2)
    # The first trial takes as long as all the others together.
    bench.executor.codes["trial-0"] = None

    def end_the_first(name: str) -> None:
        if name == "trial-3":
            write_json(tmp_path / "trials" / "0" / "result.json", {"status": "complete"})
            bench.executor.jobs["trial-0"].end(0)

    bench.executor.on_submit = end_the_first
    bench.runner.run()
    order = [name for name in bench.executor.order if name.startswith("trial")]
    assert order == ["trial-0", "trial-1", "trial-2", "trial-3"]


def test_a_failed_trial_does_not_stop_the_rest(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)
    bench.executor.codes["trial-1"] = 2
    bench.executor.errors["trial-1"] = "the data is other data\n  seen: lr"
    bench.runner.run()
    states = bench.states()
    assert [states[f"trial-{index}"] for index in range(3)] == ["complete", "failed", "complete"]
    said = bench.said.getvalue()
    assert "trial-1 failed: exit code 2: the data is other data\n  seen: lr\n  log: " in said
    assert str(tmp_path / "logs" / "trial-1.log") in said


def test_a_trial_that_says_nothing_is_not_complete(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)

    def lose(name: str) -> None:
        if name == "trial-1":
            (tmp_path / "trials" / "1" / "result.json").unlink()

    bench.executor.on_submit = lose
    bench.runner.run()
    assert bench.states()["trial-1"] == "failed"


@pytest.mark.parametrize(("code", "kind"), [(1, WorkError), (2, UserError), (137, WorkError)])
def test_a_failed_producer_stops_the_launch(tmp_path: Path, code: int, kind: type) -> None:
    bench = Bench(tmp_path, [*ALL, producer(1)])
    bench.executor.codes |= {"producer-0": code, "producer-1": None}
    bench.executor.errors["producer-0"] = "another one\n  next: --replace"
    with pytest.raises(kind, match=r"producer-0 ended with exit code \d+: another one") as caught:
        bench.runner.run()
    assert "next: --replace" in str(caught.value)
    assert str(tmp_path / "logs" / "producer-0.log") in str(caught.value)
    bench.runner.stop()
    assert bench.states()["producer-0"] == "failed"
    assert bench.states()["producer-1"] == "interrupted"
    assert bench.states()["trial-0"] == "waiting"
    assert bench.executor.jobs["broker"].asked == ["stop"]


def test_a_broker_that_dies_stops_the_launch(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)
    bench.executor.on_submit = lambda name: (
        bench.executor.jobs["broker"].end(1, "the disk is full") if name == "trial-0" else None
    )
    bench.executor.codes["trial-0"] = None
    with pytest.raises(WorkError, match="broker ended with exit code 1: the disk is full"):
        bench.runner.run()
    bench.runner.stop()
    assert bench.states()["trial-0"] == "interrupted"


def test_a_broker_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)

    def taken(name: str) -> None:
        state = {"state": "ready", "supervisor": identity(2), "bootstrap": "h:1", "mode": "kraft"}
        write_json(tmp_path / "broker" / "state.json", state)
        bench.executor.jobs["broker"].end(2, "a broker is up there already")

    bench.executor.on_submit = taken
    with pytest.raises(UserError, match="a broker is up there already"):
        bench.runner.run()
    assert bench.executor.order == ["broker"]


def test_a_signal_ends_the_launch_in_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [*ALL, producer(1)], max_parallel=2)
    bench.executor.codes |= {"trial-0": None, "trial-1": None, "producer-1": None}
    ended: list[str] = []

    def interrupt(name: str) -> None:
        if name == "trial-1":
            bench.signals.seen = (15,)
            for each, job in bench.executor.jobs.items():
                job.stop = lambda each=each, stop=job.stop: (ended.append(each), stop())

    bench.executor.on_submit = interrupt
    with pytest.raises(Terminated) as caught:
        bench.runner.run()
    assert caught.value.exit_code == 143
    bench.runner.stop()
    assert sorted(ended[:2]) == ["trial-0", "trial-1"]
    assert ended[2:] == ["producer-1", "broker"]
    assert bench.states()["trial-0"] == "interrupted"
    assert bench.states()["trial-2"] == "waiting"


def test_what_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc.campaign.task.GRACE", {"trial": 0.3, "broker": 0.3, "producer": 0.3})
    monkeypatch.setattr("hpc.local.runner._HEAR_SECONDS", 0.4)
    bench = Bench(tmp_path, ALL)
    bench.executor.codes["trial-0"] = None
    bench.executor.deaf.add("trial-0")
    bench.executor.on_submit = lambda name: setattr(
        bench.signals, "seen", (2,) if name == "trial-0" else ()
    )
    with pytest.raises(Terminated):
        bench.runner.run()
    bench.runner.stop()
    # Asked once more, should it have missed the first; then killed.
    assert bench.executor.jobs["trial-0"].asked == ["stop", "stop", "kill"]


@pytest.mark.timed
def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)
    bench.executor.codes["trial-0"] = None
    bench.executor.deaf.add("trial-0")

    def twice(name: str) -> None:
        if name == "trial-0":
            bench.signals._note(2, None)
            bench.signals._note(2, None)

    bench.executor.on_submit = twice
    begun = time.monotonic()
    with pytest.raises(Terminated):
        bench.runner.run()
    bench.runner.stop()
    assert bench.executor.jobs["trial-0"].asked[:2] == ["stop", "kill"]
    assert time.monotonic() - begun < 3


def test_what_an_earlier_run_of_a_trial_has_left(tmp_path: Path) -> None:
    tasks = [
        Task(f"trial-{n}", "trial", n, ("deeptool", "new"), again=("deeptool", "again"))
        for n in range(4)
    ]
    bench = Bench(tmp_path, tasks)
    for name, config, status in ((1, True, "failed"), (2, True, "interrupted"), (3, True, None)):
        folder = tmp_path / "trials" / str(name)
        if config:
            write_json(folder / "config.json", {})
        if status:
            write_json(folder / "result.json", {"status": status})
        (folder / "kept").touch()
    bench.runner.run()
    words = {name: job.job.argv[1] for name, job in bench.executor.jobs.items()}
    # Interrupted or killed: it goes on; failed: it begins again, in an empty folder.
    assert words == {"trial-0": "new", "trial-1": "new", "trial-2": "again", "trial-3": "again"}
    assert not (tmp_path / "trials" / "1" / "kept").exists()
    assert (tmp_path / "trials" / "3" / "kept").exists()


def test_a_trial_that_diverged_has_come_to_its_result(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)

    def diverge(name: str) -> None:
        if name == "trial-2":
            write_json(tmp_path / "trials" / "2" / "result.json", {"status": "diverged"})

    bench.executor.on_submit = diverge
    bench.runner.run()
    assert bench.states()["trial-2"] == "diverged"
    assert "trial-2 diverged: " in bench.said.getvalue()
    assert "failed" not in bench.states().values()


def test_a_picture_that_fails_is_only_missed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ALL)
    bench.executor.codes["view-t"] = 1
    bench.executor.errors["view-t"] = "nothing to draw"
    bench.runner.run()
    assert "no picture of the samples: nothing to draw" in bench.said.getvalue()
    assert bench.states()["trial-2"] == "complete"
