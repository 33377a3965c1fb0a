"""The state of a campaign on Slurm, from files and the queue."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deeptool import outcome
from deeptool.outcome import CommandError, Outcome
from hpc.broker.discovery import Descriptor, Discovery
from hpc.campaign.task import Role
from hpc.processes.record import EarlierStart, JobRecord, write_job_record
from hpc.run.run_folder import RunFolder
from hpc.run.snapshot import take_snapshot
from hpc.run.state import RunState, TaskState
from hpc.slurm.observe import Jobs, observe
from hpc.slurm.scheduler import Queued


class Folder:
    """A run folder with one broker, one producer and one trial."""

    def __init__(self, path: Path) -> None:
        self.run = RunFolder(path)
        self.run.services.mkdir()
        (path / "jobs").mkdir()
        (path / "trials" / "0").mkdir(parents=True)
        roles: dict[str, Role] = {"broker": "broker", "producer-0": "producer", "trial-0": "trial"}
        tasks = {
            name: TaskState(role, 0, "waiting", job=str(number))
            for number, (name, role) in enumerate(roles.items())
        }
        self.state = RunState("c", "slurm", "r", {}, "running", 1.0, 1.0, tasks)

    def record(self, name: str, **facts: Any) -> None:
        values = {"job": self.state.tasks[name].job, "node": "n1", "start": time.time(), **facts}
        write_job_record(self.run.record(name), JobRecord(name, **values))

    def seen(self, name: str, *queued: Queued, ask: bool = True) -> TaskState:
        jobs = Jobs(time.time() + 1, {each.id: each for each in queued}) if ask else None
        return observe(self.run, self.state, jobs).tasks[name]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_task_in_the_queue(folder: Folder) -> None:
    task = folder.seen("trial-0", Queued("2", "PENDING", "Resources"))
    assert (task.state, task.note) == ("waiting", "queued (Resources)")
    assert folder.seen("trial-0", ask=False).state == "waiting"


def test_a_task_that_runs_says_so_itself(folder: Folder) -> None:
    folder.record("trial-0", devices="1")
    for ask in (True, False):
        task = folder.seen("trial-0", Queued("2", "RUNNING"), ask=ask)
        assert (task.state, task.node, task.devices) == ("running", "n1", "1")
    folder.record("producer-0", waiting="for the broker")
    assert folder.seen("producer-0", ask=False).note == "on n1, waiting for the broker"


def test_a_task_that_was_requeued(folder: Folder) -> None:
    folder.record("trial-0", runs=(EarlierStart(1.0, 2.0),))
    task = folder.seen("trial-0", Queued("2", "PENDING", "BeginTime"))
    assert (task.state, task.note) == ("waiting", "queued again (BeginTime)")


def test_seconds_are_those_of_all_starts(folder: Folder) -> None:
    runs = (EarlierStart(100.0, 130.0), EarlierStart(200.0, 205.0))
    folder.record("trial-0", start=300.0, end=310.0, exit_code=0, runs=runs)
    task = folder.seen("trial-0")
    snapshot = take_snapshot(folder.run, replace(folder.state, tasks={"trial-0": task}))
    assert snapshot.rows[0].seconds == 45.0


def test_a_trial_is_complete_by_its_result(folder: Folder) -> None:
    folder.record("trial-0", exit_code=0, end=time.time())
    assert folder.seen("trial-0").state == "failed"
    (folder.run.trial(0) / "result.json").write_text('{"status": "complete"}')
    assert folder.seen("trial-0").state == "complete"
    (folder.run.trial(0) / "result.json").write_text('{"status": "diverged"}')
    assert folder.seen("trial-0").state == "diverged"
    folder.record("trial-0", exit_code=1, end=time.time())
    error = CommandError(message="no disk\n  seen: /dev", what="no disk")
    outcome.write(folder.run.outcome("trial-0"), Outcome(1, error))
    task = folder.seen("trial-0")
    assert (task.state, task.note) == ("failed", "no disk")
    folder.record("trial-0", exit_code=143, end=time.time())
    assert folder.seen("trial-0").state == "interrupted"


def test_a_trial_that_was_preempted_is_to_go_on(folder: Folder) -> None:
    folder.record("trial-0", exit_code=140, end=time.time(), requeued="preempted")
    for queued, note in (
        ([Queued("2", "COMPLETING", nodes="n1")], "on n1: Slurm starts it again"),
        ([Queued("2", "PENDING", "BeginTime")], "on n1: queued again (BeginTime)"),
    ):
        task = folder.seen("trial-0", *queued)
        assert (task.state, task.note) == ("preempted", note)
    assert folder.seen("trial-0", ask=False).state == "preempted"
    assert folder.seen("trial-0", Queued("2", "CANCELLED")).state == "cancelled"
    assert folder.seen("trial-0").state == "interrupted"
    folder.record("trial-0", exit_code=143, end=time.time(), requeued="walltime")
    task = folder.seen("trial-0", Queued("2", "PENDING", "BeginTime"))
    assert (task.state, task.note) == ("waiting", "its walltime ended: queued again (BeginTime)")


@pytest.mark.parametrize(
    ("queued", "state", "note"),
    [
        ("CANCELLED", "cancelled", "Slurm: cancelled on n2"),
        ("PREEMPTED", "preempted", "Slurm: preempted on n2"),
        ("NODE_FAIL", "lost", "Slurm: node fail on n2"),
    ],
)
def test_what_slurm_takes_away_has_not_failed(
    folder: Folder, queued: str, state: str, note: str
) -> None:
    for said in ({}, {"exit_code": 143, "end": time.time()}):
        folder.record("trial-0", **said)
        task = folder.seen("trial-0", Queued("2", queued, nodes="n2"))
        assert (task.state, task.note) == (state, note)
    # Its own error counts for more.
    folder.record("trial-0", exit_code=2, end=time.time())
    assert folder.seen("trial-0", Queued("2", queued, nodes="n2")).state == "failed"


def test_what_slurm_ended_had_no_time_to_say_so(folder: Folder) -> None:
    task = folder.seen("trial-0", Queued("2", "OUT_OF_MEMORY", nodes="n2"))
    assert (task.state, task.note) == ("failed", "Slurm: out of memory on n2")
    assert "left no record" in folder.seen("trial-0").note


def test_a_record_of_another_job_does_not_count(folder: Folder) -> None:
    folder.record("producer-0", job="99", exit_code=0, end=1.0)
    assert folder.seen("producer-0", Queued("1", "PENDING", "Priority")).state == "waiting"


@pytest.mark.parametrize(
    ("said", "queued", "expected"),
    [
        ("ready", "RUNNING", "ready"),
        ("starting", "RUNNING", "running"),
        ("stopped", "COMPLETED", "complete"),
        ("failed", "FAILED", "failed"),
        ("ready", "CANCELLED", "failed"),
        ("ready", "PENDING", "waiting"),
    ],
)
def test_brokers(folder: Folder, said: str, queued: str, expected: str) -> None:
    Discovery(folder.run.services, "r").write(Descriptor("r", "0", 0, 0, 1, said, "h:1"))
    assert folder.seen("broker", Queued("0", queued)).state == expected


def test_a_broker_of_an_earlier_job_does_not_count(folder: Folder) -> None:
    Discovery(folder.run.services, "r").write(Descriptor("r", "98", 0, 0, 1, "ready", "h:1"))
    assert folder.seen("broker", Queued("0", "PENDING", "Priority")).state == "waiting"
    assert folder.seen("broker", Queued("0", "CANCELLED")).note == "Slurm: cancelled"


def test_the_end_is_that_of_this_launch(folder: Folder) -> None:
    done = {"state": "complete", "finished": 9.0, "uploads": [], "launched": 0.5}
    folder.run.done_file.write_text(json.dumps(done))
    assert observe(folder.run, folder.state, None).finished is None
    folder.run.done_file.write_text(json.dumps(done | {"launched": 1.0}))
    assert observe(folder.run, folder.state, None).state == "complete"
