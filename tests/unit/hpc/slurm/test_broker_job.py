"""When a broker's job ends by itself, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deeptool.errors import WorkError
from hpc.broker.discovery import Discovery
from hpc.broker.embedded import EmbeddedBroker
from hpc.campaign.definition import Broker
from hpc.run.run_folder import RunFolder
from hpc.run.state import RunState
from hpc.slurm.broker_job import BrokerWork, _BrokerJob, _Stop
from hpc.slurm.job_names import JobNames
from hpc.slurm.scheduler import Queued
from hpc.slurm.stop_request import stop_brokers


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _BrokerJob:
    monkeypatch.setattr("hpc.processes.caught_signals.signal.signal", lambda *_: None)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    for name in ("logs", "jobs", "scratch"):
        (tmp_path / name).mkdir()
    broker = Broker(scratch=str(tmp_path / "scratch"), idle_minutes=10)
    return _BrokerJob(BrokerWork(broker, tmp_path, "r", None, None, 60), 0)


def reason(job: _BrokerJob) -> str:
    job.looked = 0.0
    try:
        job._check()
    except _Stop as stop:
        return str(stop)
    return ""


def test_it_says_that_it_lives_whatever_takes_so_long(
    job: _BrokerJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc.slurm.broker_job.HEARTBEAT_SECONDS", 0.02)
    discovery, seen = Discovery(job.run_folder.services, "r"), []

    def fetch() -> None:
        for _ in range(3):
            before = time.time()
            while (found := discovery.read()) is None or found.heartbeat < before:
                time.sleep(0.01)
            seen.append(found)
        raise _Stop("the campaign is done")

    monkeypatch.setattr(job, "_serve", fetch)
    job.run()
    assert {(each.job, each.state, each.resumes) for each in seen} == {("7", "starting", False)}
    ended = discovery.read()
    time.sleep(0.1)
    assert ended is not None
    assert (ended.state, ended) == ("stopped", discovery.read())


def test_it_stops_when_its_own_campaign_is_done(job: _BrokerJob) -> None:
    stop_brokers(job.run_folder, "another", "done")
    assert reason(job) == ""
    stop_brokers(job.run_folder, "r", "the campaign is done")
    assert reason(job) == "the campaign is done"


def test_it_stops_before_its_walltime_ends(
    job: _BrokerJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc.slurm.broker_job.MARGIN_SECONDS", 3700.0)
    assert reason(job) == "its walltime ends"


@pytest.mark.parametrize("signalled", [True, False])
def test_servers_that_slurm_ends_first_have_not_failed(
    job: _BrokerJob, monkeypatch: pytest.MonkeyPatch, signalled: bool
) -> None:
    monkeypatch.setattr("hpc.slurm.broker_job._SIGNAL_SECONDS", 2.0 if signalled else 0.1)

    def die() -> None:
        if signalled:
            threading.Timer(0.2, job.signals._note, (signal.SIGTERM, None)).start()
        raise WorkError("user has ended (exit code 143)")

    monkeypatch.setattr(job, "_serve", die)
    with contextlib.nullcontext() if signalled else pytest.raises(WorkError, match="143"):
        job.run()
    seen = job.discovery.read()
    assert seen is not None
    assert seen.state == ("stopped" if signalled else "failed")


def test_the_servers_logs_outlive_a_killed_job(
    job: _BrokerJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hpc.slurm.broker_job.address", lambda interface: "127.0.0.1")

    class Killed(EmbeddedBroker):
        def start(self, *_: object) -> None:
            self.directory.joinpath("logs").mkdir(exist_ok=True)
            (self.directory / "logs" / "kafka.log").write_text("the disk is full")
            raise KeyboardInterrupt

    monkeypatch.setattr("hpc.slurm.broker_job.EmbeddedBroker", Killed)
    with pytest.raises(KeyboardInterrupt):
        job._serve()
    # As the epilogue of a node does.
    shutil.rmtree(tmp_path / "scratch")
    log = tmp_path / "logs" / "broker-servers" / "kafka.log"
    assert log.read_text() == "the disk is full"


def test_it_stops_when_nobody_works_with_it(job: _BrokerJob, tmp_path: Path) -> None:
    record = tmp_path / "jobs" / "trial-0.json"
    record.write_text("{}")
    job.started -= 3600
    assert reason(job) == ""
    os.utime(record, (time.time() - 660, time.time() - 660))
    assert reason(job).startswith("idle: no producer or trial has run for 10 minutes")


@pytest.mark.parametrize("batch", ["trials", "broker"])
def test_it_does_not_wait_for_jobs_that_have_gone(
    job: _BrokerJob, monkeypatch: pytest.MonkeyPatch, batch: str
) -> None:
    queue = {"8": Queued("8", "PENDING", name=JobNames("r", "c").of(batch))}
    monkeypatch.setattr("hpc.slurm.scheduler.queue", lambda: queue)
    job.started -= 100
    state = RunState("c", "slurm", "r", {}, "running", 1.0, 1.0, {})
    job.run_folder.write_state(state)
    # More may be submitted.
    assert reason(job) == ""
    job.run_folder.write_state(replace(state, submitted=True))
    job.asked = 0.0
    gone = "no other job of the campaign is in the queue any more"
    assert reason(job) == ("" if batch == "trials" else gone)


def test_a_scratch_folder_that_is_not_there_is_said_where_others_wait(
    job: _BrokerJob, tmp_path: Path
) -> None:
    (tmp_path / "scratch").rmdir()
    with pytest.raises(Exception, match="no such scratch folder"):
        job.run()
    seen = Discovery(RunFolder(tmp_path).services, "r").read()
    assert seen is not None
    assert seen.state == "failed"
    assert "no such scratch folder" in seen.note
