"""What a Slurm job of a producer or a trial does: find the broker, run the process, be requeued."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deeptool.errors import DeeptoolError, Terminated, WorkError
from deeptool.files import read_json
from hpc.broker.discovery import Descriptor, Discovery, loss
from hpc.campaign.task import Task
from hpc.processes import apptainer
from hpc.processes.container import Container, installed, shell_command
from hpc.processes.job import set_environment
from hpc.processes.record import EarlierStart, JobRecord, read_job_record, write_job_record
from hpc.processes.service import Service
from hpc.processes.to_the_end import run_to_the_end
from hpc.run.run_folder import RunFolder
from hpc.slurm import job_environment, scheduler

_STEP = 0.1
# The interval for touching the record's file, which shows a broker that it is still needed.
TOUCH_SECONDS = 20.0
# What a walltime may have left when Slurm warns of its end, for the warning not to be one of
# preemption.
_ENDING_SECONDS = 150.0
# How long a trial's broker may take to come back, and how often it may go.
_COME_BACK = 6
_LOOK_SECONDS = 5.0
_NOTICE_SECONDS = 45.0


@dataclass(frozen=True)
class Work:
    """One task of an array: what submitit carries to the node.

    Attributes
    ----------
    task : Task
        What is to run.
    run_dir, run : Path and str
        The run folder, and its run id.
    server : str or None
        The address of an existing Kafka; None: the campaign's own broker is looked up.
    container : Container or None
        What it runs in.
    gpus : bool
        Whether it is to see the node's GPUs.
    minutes : int
        Its walltime.
    wait_seconds : float
        How long it waits for the broker.
    """

    task: Task
    run_dir: Path
    run: str
    server: str | None
    container: Container | None
    gpus: bool
    minutes: int
    wait_seconds: float = 600.0

    def __call__(self) -> None:
        """Do it.

        Raises
        ------
        WorkError
            When the process has failed, so that Slurm knows the job as failed.
        """
        _Worker(self).run()


def task_environment(task: Task, devices: str | None) -> dict[str, str | None]:
    """The changes to the environment that a task's process is to see.

    Parameters
    ----------
    task : Task
    devices : str or None
        The GPUs that Slurm has given to it: they have to be passed on into an image.
    """
    return {**task.env, "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": devices}


class _Worker:
    def __init__(self, work: Work) -> None:
        self.work, self.task = work, work.task
        self.signals = job_environment.JobSignals()
        self.run_folder = RunFolder(work.run_dir)
        self.discovery = Discovery(self.run_folder.services, work.run)
        self.log = self.run_folder.log(self.task.name)
        self.path = self.run_folder.record(self.task.name)
        self.started = self.touched = time.time()
        self.looked = time.monotonic()
        self.cpu_seconds = 0.0
        self.tail: tuple[str, ...] = ()
        self.record = self._begin()

    def run(self) -> None:
        set_environment({})
        start = job_environment.restarts() + 1
        self._say(f"job {job_environment.job_id()} on {job_environment.node_name()}, start {start}")
        error: str | None = None
        try:
            code = self._work()
        except Terminated as ended:
            code = ended.exit_code
        except DeeptoolError as failure:
            code, error = failure.exit_code, str(failure)
            self._say(f"error: {error}")
        again = self._ask_again(code) if self.signals.warned and code else None
        if again is not None:
            error = error or again
        facts = {"exit_code": code, "end": time.time(), "cpu_seconds": self.cpu_seconds}
        requeued = self._why_ended() if self.signals.warned and code and again is None else None
        self._write(**facts, error=error, tail=self.tail, requeued=requeued)
        if requeued is not None:
            self._requeue()
        if code:
            raise WorkError(f"{self.task.name} ended with exit code {code}: see {self.log}")

    def _begin(self) -> JobRecord:
        earlier = read_job_record(self.path) or JobRecord()
        runs = earlier.runs
        if earlier.job == job_environment.job_id() and earlier.start is not None:
            # Killed with its node, or with no time left to say so: until now, at the latest.
            end = earlier.end or min(self.started, self.path.stat().st_mtime)
            runs = (*runs, EarlierStart(earlier.start, end, earlier.node))
        epoch, batches = self._kept()
        record = JobRecord(
            name=self.task.name,
            job=job_environment.job_id(),
            node=job_environment.node_name(),
            restarts=job_environment.restarts(),
            devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
            start=self.started,
            runs=runs,
            epoch=epoch,
            batches=batches,
        )
        write_job_record(self.path, record)
        return record

    def _write(self, **facts: Any) -> None:
        self.record = replace(self.record, **facts)
        write_job_record(self.path, self.record)

    def _work(self) -> int:
        """Run the process to its end, again where the broker went and came back; its exit code."""
        again = self._prepare(bool(self.record.runs))
        broker = self._broker(None)
        for _ in range(_COME_BACK):
            code = self._process(broker, again)
            if not code or self.signals.end or broker is None or not self._left(broker):
                return code
            self._say("the broker has stopped: waiting for the next one")
            broker = self._broker(broker.generation)
            again = self._prepare(True)
        return code

    def _prepare(self, begun: bool) -> bool:
        """Whether the task resumes an earlier start; for a trial, its folder says so."""
        return self.run_folder.prepare_trial(self.task) if self.task.role == "trial" else begun

    def _broker(self, after: tuple[str, int] | None) -> Descriptor | None:
        if self.work.server is not None:
            return None
        self._write(waiting="for the broker")
        log = str(self.run_folder.log("broker"))
        found = self.discovery.wait_ready(self.work.wait_seconds, self._check, after=after, log=log)
        self._write(waiting=None)
        return found

    def _left(self, broker: Descriptor) -> bool:
        """Whether the broker that was read from has ended, and another one is to follow."""
        deadline = time.monotonic() + _NOTICE_SECONDS
        while time.monotonic() < deadline:
            self._check()
            seen = self.discovery.read()
            if seen is None or seen.dead(time.time()):
                return True
            if seen.generation != broker.generation or seen.state != "ready":
                return seen.resumes or seen.state in ("starting", "ready")
            if time.time() - seen.heartbeat < 5:
                return False
            time.sleep(_STEP)
        return True

    def _process(self, broker: Descriptor | None, again: bool) -> int:
        server = self.work.server or self.discovery.servers()
        env = task_environment(self.task, os.environ.get("CUDA_VISIBLE_DEVICES"))
        command = self.task.command(server, again=again)
        argv, env = shell_command(command, env, installed, self.work.container, nv=self.work.gpus)
        set_environment(env)
        service = Service(self.task.name, argv, self.log, guard=apptainer.runs(argv))

        def asked_to_end() -> bool:
            self._touch()
            return self.signals.end or (broker is not None and self._lost())

        end = run_to_the_end(service, asked_to_end, self.task.grace)
        self.cpu_seconds += end.cpu_seconds
        self.tail = end.tail
        if broker is not None and end.exit_code and not self.signals.end:
            seen = self.discovery.read()
            if seen is not None and seen.lost(time.time()):
                raise loss(seen)
        return end.exit_code

    def _lost(self) -> bool:
        """Whether no broker will follow: a GPU must not wait until the reader gives up."""
        if time.monotonic() - self.looked < _LOOK_SECONDS:
            return False
        self.looked = time.monotonic()
        seen = self.discovery.read()
        return seen is not None and seen.lost(time.time())

    def _check(self) -> None:
        self._touch()
        if self.signals.end:
            raise Terminated(signal.SIGTERM)

    def _touch(self) -> None:
        if time.time() - self.touched > TOUCH_SECONDS:
            self.touched = time.time()
            os.utime(self.path)

    def _ask_again(self, code: int) -> str | None:
        """Why the job is not to be started once more; None where it is."""
        if self._why_ended() == "preempted":
            return None
        if self.task.role == "producer":
            return f"the upload did not fit into its walltime, {self.work.minutes} minutes"
        if self._kept() <= (self.record.epoch, self.record.batches):
            return f"no checkpoint fits into its walltime, {self.work.minutes} minutes"
        return None

    def _why_ended(self) -> str:
        """Why Slurm warned the job."""
        left = job_environment.remaining_seconds(self.started, self.work.minutes)
        return "preempted" if left > _ENDING_SECONDS else "walltime"

    def _kept(self) -> tuple[int, int]:
        """The epochs that a trial has done so far, and the batches of the next in a checkpoint."""
        if self.task.role != "trial":
            return 0, 0
        progress = read_json(self.run_folder.progress_file("trial", self.task.index)) or {}
        return int(progress.get("epoch", 0)), int(progress.get("kept_batches", 0))

    def _requeue(self) -> None:
        self._say("asking Slurm to start this job again")
        scheduler.requeue(job_environment.job_id())
        # Slurm ends it: a job that ended by itself could not be started again.
        time.sleep(120)

    def _say(self, line: str) -> None:
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(line + "\n")
