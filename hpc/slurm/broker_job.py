"""What each task of the broker's Slurm job does: one broker, from discovery to an empty scratch."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from deeptool.errors import DeeptoolError, WorkError
from hpc.broker.broker_options import BrokerOptions, Metadata
from hpc.broker.broker_state import BrokerState, read_broker_state
from hpc.broker.discovery import HEARTBEAT_SECONDS, Descriptor, Discovery
from hpc.broker.embedded import EmbeddedBroker
from hpc.broker.network import address
from hpc.broker.node import VERSION
from hpc.broker.passwords import CLIENT_PROPERTIES
from hpc.campaign.definition import Broker
from hpc.processes import apptainer
from hpc.run.run_folder import RunFolder
from hpc.slurm import job_environment, scheduler, scratch
from hpc.slurm.queued import working_jobs
from hpc.slurm.stop_request import stop_reason

# Before its walltime ends: enough to stop cleanly, and to be started again.
MARGIN_SECONDS = 60.0
_JOIN_SECONDS = 600.0
_OTHERS_SECONDS = 20.0
# Between the signals that Slurm sends to the processes of one job.
_SIGNAL_SECONDS = 2.0
# Without a sign of life for so long, a broker asks Slurm who else is there; as often again.
_ALONE_SECONDS = 90.0


@dataclass(frozen=True)
class BrokerWork:
    """What submitit carries to the nodes of the broker's job.

    Attributes
    ----------
    broker : Broker
        As the campaign has it.
    run_dir, run : Path and str
        The run folder, and its run id.
    secret : Path or None
        The file with the password.
    images : tuple of Path or None
        Kafka's and ZooKeeper's.
    minutes : int
        The job's walltime.
    """

    broker: Broker
    run_dir: Path
    run: str
    secret: Path | None
    images: tuple[Path, Path] | None
    minutes: int

    def __call__(self) -> None:
        """Keep one broker up until the campaign is done.

        Raises
        ------
        DeeptoolError
            When it fails, so that Slurm knows the job as failed.
        """
        _BrokerJob(self, int(os.environ.get("SLURM_PROCID", "0"))).run()


class _Stop(Exception):
    """Why a broker is to stop, and whether one that follows it finds its data."""

    def __init__(self, reason: str, *, resumes: bool = False) -> None:
        super().__init__(reason)
        self.resumes = resumes


class _BrokerJob:
    def __init__(self, work: BrokerWork, node: int) -> None:
        self.work, self.node = work, node
        self.signals = job_environment.JobSignals()
        self.started = time.time()
        self.run_folder = RunFolder(work.run_dir)
        self.discovery = Discovery(self.run_folder.services, work.run)
        self.log = self.run_folder.log("broker" if node == 0 else f"broker-{node}")
        # Of the servers: not in scratch, which may go before anybody has read them.
        self.servers_logs = self.log.with_name(f"{self.log.stem}-servers")
        self.directory: Path | None = None
        self.server: EmbeddedBroker | None = None
        before = self.discovery.read(node)
        self.spent = before.cpu_seconds if before else 0.0
        self.earlier = self.looked = self.asked = 0.0
        self.writing = threading.Lock()
        self.over = threading.Event()
        self.descriptor = self.discovery.write(
            Descriptor(
                run=work.run,
                job=os.environ.get("SLURM_JOB_ID", ""),
                restarts=job_environment.restarts(),
                node=node,
                nodes=work.broker.count,
                resumes=self.kept,
                secret=str(work.secret.with_name(CLIENT_PROPERTIES)) if work.secret else None,
                started=self.started,
                expires_at=job_environment.walltime_ends(self.started, work.minutes),
                cpu_seconds=self.spent,
                mode=work.broker.mode,
                version=VERSION,
                host=job_environment.node_name(),
                log=str(self.log),
            )
        )

    @property
    def kept(self) -> bool:
        """Whether the data outlives the job."""
        return self.work.broker.folder is not None

    def run(self) -> None:
        self._say(
            f"broker {self.node} of job {self.descriptor.job} on {job_environment.node_name()}"
        )
        # To fetch Kafka, to format a folder, to stop: each may take longer than others wait.
        beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        beating.start()
        try:
            self._run()
        finally:
            self.over.set()
            beating.join()

    def _run(self) -> None:
        try:
            self._serve_until_stop()
        except _Stop as stop:
            self._say(f"stopping: {stop}")
            self._end("stopped", str(stop), stop.resumes)
            if stop.resumes and self.node == 0 and self.asked_to_resume():
                self._requeue()
        except DeeptoolError as error:
            self._say(f"error: {error}")
            self._end("failed", str(error), resumes=False)
            raise
        except BaseException as error:
            self._end("failed", repr(error), resumes=False)
            raise

    def asked_to_resume(self) -> bool:
        """Whether this job has to see itself to its being started again.

        What Slurm ends without a warning it starts again by itself, or somebody cancelled it.
        """
        return self.signals.warned or not self.signals.end

    def _serve_until_stop(self) -> NoReturn:
        try:
            self._serve()
        except WorkError:
            # Slurm signals a job's servers too, in any order: that may be what it died of.
            deadline = time.monotonic() + _SIGNAL_SECONDS
            while not self.signals.end and time.monotonic() < deadline:
                time.sleep(0.05)
            if self.signals.end:
                self._check()
            raise

    def _serve(self) -> NoReturn:
        """Start the broker, and keep it up until `_Stop` says why it is to end."""
        broker = self.work.broker
        directory = self._directory()
        if not self.kept:
            scratch.sweep(directory.parent)
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.kept:
            self.servers_logs.mkdir(parents=True, exist_ok=True)
            (directory / "logs").symlink_to(self.servers_logs)
        # Of a folder that is kept: what other runs' brokers have cost on it.
        self.earlier = (read_broker_state(directory) or BrokerState()).cpu_seconds
        images = None
        if self.work.images:
            kafka, zookeeper = self.work.images
            images = apptainer.Images(kafka, zookeeper, apptainer.find())
        options = BrokerOptions(
            directory=directory,
            mode=broker.mode,
            host=address(broker.interface),
            memory=broker.memory,
            node=self.node,
            nodes=broker.count,
            replication=broker.replication,
            metadata=self._join() if self.node else None,
            secret=self.work.secret,
            images=images,
            port_fixed=False,
        )
        self.server = EmbeddedBroker(options)
        self.server.start(self._say, self._check, self._announce)
        self._say(f"ready at {self.server.bootstrap}")
        self._update(state="ready", bootstrap=self.server.bootstrap)
        self.server.watch(self._check)
        raise WorkError("a broker is watched without end")

    def _join(self) -> Metadata:
        """Wait for node 0 of this start of the job to say where the metadata are."""
        deadline = time.monotonic() + _JOIN_SECONDS
        while time.monotonic() < deadline:
            self._check()
            first = self.discovery.read()
            if first and first.generation == self.descriptor.generation:
                if first.metadata:
                    return Metadata(first.metadata, first.cluster_id)
                if first.state in ("failed", "stopped"):
                    raise WorkError("node 0 of the brokers did not start", seen=first.note)
            time.sleep(0.3)
        raise WorkError("node 0 of the brokers was not there in time", next_step=f"see {self.log}")

    def _announce(self, metadata: Metadata) -> None:
        self._update(metadata=metadata.address, cluster_id=metadata.cluster_id)

    def _check(self) -> None:
        """Raise `_Stop` when the broker is to end."""
        now = time.time()
        if self.signals.end:
            why = "Slurm warned it" if self.signals.warned else "Slurm asked it to"
            raise _Stop(why, resumes=self.kept)
        if now - self.looked < HEARTBEAT_SECONDS:
            return
        self.looked = now
        reason = stop_reason(self.run_folder, self.work.run)
        if reason is not None:
            raise _Stop(reason)
        if self.descriptor.expires_at - now < MARGIN_SECONDS:
            raise _Stop("its walltime ends", resumes=self.kept)
        idle = now - _last_work(self.run_folder.folder / "jobs", self.started)
        if idle > 60 * self.work.broker.idle_minutes:
            minutes = self.work.broker.idle_minutes
            raise _Stop(f"idle: no producer or trial has run for {minutes} minutes")
        if idle > _ALONE_SECONDS and now - self.asked > _ALONE_SECONDS:
            self.asked = now
            if self._alone():
                raise _Stop("no other job of the campaign is in the queue any more")

    def _alone(self) -> bool:
        """Whether nobody is left to work with the broker, nor to let it go."""
        state = self.run_folder.read_state()
        if state is None or state.id != self.work.run or not state.submitted:
            return False
        try:
            return not working_jobs(self.work.run)
        except WorkError:
            # Slurm does not answer: no news.
            return False

    def _beat(self) -> None:
        """Say that the broker lives until it is over."""
        while not self.over.wait(HEARTBEAT_SECONDS):
            # A full disk: the next one may get through.
            with contextlib.suppress(OSError):
                self._update()

    def _update(self, **facts: object) -> None:
        spent = self.spent
        if self.server is not None:
            spent += max(0.0, self.server.cpu_seconds() - self.earlier)
        with self.writing:
            changed = replace(self.descriptor, cpu_seconds=round(spent, 3), **facts)  # type: ignore[arg-type]
            self.descriptor = self.discovery.write(changed)

    def _end(self, state: str, note: str, resumes: bool) -> None:
        """Stop the servers, and leave no scratch."""
        self._update(state="draining", note=note, resumes=resumes)
        if self.server is not None:
            if self.kept:
                self._others_first()
                self.server.stop()
            else:
                # Nobody will look at this data again.
                self.server.abandon()
        if self.directory is not None:
            if self.kept:
                self._copy_logs(self.directory)
            if not self.kept or not (self.work.broker.keep_data or resumes):
                shutil.rmtree(self.directory, ignore_errors=True)
        self._update(state=state, note=note, resumes=resumes)

    def _others_first(self) -> None:
        """Node 0 keeps the metadata: without it the others cannot leave in order."""
        deadline = time.monotonic() + _OTHERS_SECONDS
        while self.node == 0 and time.monotonic() < deadline:
            others = self.discovery.all()[1:]
            if all(each.state in ("stopped", "failed") for each in others):
                return
            time.sleep(0.2)

    def _copy_logs(self, directory: Path) -> None:
        """The end of the servers' logs: other runs' brokers will follow on the folder."""
        self.servers_logs.mkdir(parents=True, exist_ok=True)
        for log in sorted((directory / "logs").glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-2000:]
            copy = self.servers_logs / log.name
            copy.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _requeue(self) -> None:
        self._others_first()
        self._say("asking Slurm to start this job again")
        scheduler.requeue(self.descriptor.job)
        # Slurm ends it: a job that ended by itself could not be started again.
        time.sleep(120)

    def _directory(self) -> Path:
        broker = self.work.broker
        if broker.folder is not None:
            return broker.folder if self.node == 0 else broker.folder / f"node-{self.node}"
        return scratch.folder(broker.scratch, self.node)

    def _say(self, line: str) -> None:
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {line}\n")


def _last_work(jobs: Path, since: float) -> float:
    """When a producer or a trial last gave a sign of life (Unix time)."""
    times: Iterable[float] = (file.stat().st_mtime for file in jobs.glob("*.json"))
    return max([since, *times])
