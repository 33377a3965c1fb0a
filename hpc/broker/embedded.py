"""A real Kafka in one folder: its files, its processes, and when it is ready."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from deeptool.errors import DeeptoolError, WorkError
from deeptool.files import read_json, write_json, write_text
from hpc.broker import folder, jars, kafka, passwords, ports
from hpc.broker.options import PRIVATE, Metadata, Options, settle
from hpc.broker.readiness import round_trip, write_user
from hpc.processes import apptainer
from hpc.processes.apptainer import Images
from hpc.processes.identity import identity
from hpc.processes.service import Service

__all__ = ["EmbeddedBroker", "Images", "Metadata", "Options", "settle"]

READY_SECONDS = 60.0
# Nodes are jobs that may have to wait for each other.
NODES_SECONDS = 600.0
STOP_SECONDS = 20.0
_STEP = 0.05
# With less left a server that died is taken to have died of that: its log may not say so any more.
_SPARE_BYTES = 4 << 20

Check = Callable[[], None]
Progress = Callable[[str], None]
Announce = Callable[[Metadata], None]


class EmbeddedBroker:
    """The broker of one folder, and on node 0 its ZooKeeper, as children of this process.

    A context manager: starts and stops. To be started from the main thread. On a folder that was
    used before it comes back with the same ports, ids and data; the lock on the folder keeps a
    second one away. Of several nodes node 0 is to be stopped last: without it the others cannot
    leave the cluster, and are killed.
    """

    def __init__(self, options: Options) -> None:
        self.directory = Path(os.path.abspath(options.directory))
        self._options = replace(options, directory=self.directory)
        self._lock: IO[str] | None = None
        self._kafka: kafka.Kafka | None = None
        self._services: dict[str, Service] = {}
        self._password: str | None = None
        self._renew = False
        self._earlier_cpu_seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def config(self) -> kafka.Kafka:
        """What its files were written for: mode, address, ``log_dir``."""
        if self._kafka is None:
            raise WorkError("the broker was not started")
        return self._kafka

    @property
    def bootstrap(self) -> str:
        return self.config.bootstrap

    @property
    def client_properties(self) -> dict[str, str]:
        """librdkafka's settings for a client; they hold the password where there is one."""
        secret = self._options.secret
        login = passwords.client_properties(secret) if secret else {}
        return {"bootstrap.servers": self.bootstrap} | login

    @property
    def pids(self) -> dict[str, int]:
        """Name (``broker``, ``zookeeper``) -> process id of those that run."""
        return {name: pid for name, service in self._services.items() if (pid := service.pid)}

    def start(
        self,
        progress: Progress = lambda line: None,
        check: Check = lambda: None,
        announce: Announce = lambda metadata: None,
    ) -> None:
        """Start the servers and return when all nodes are there and a record made its round trip.

        Parameters
        ----------
        progress : callable
            Called with a line for each step.
        check : callable
            Called often: what it raises ends the start, and everything started is stopped.
        announce : callable
            Called on node 0 as soon as the other nodes can be started, with what they need.

        Raises
        ------
        UserError
            When a broker is up on this folder already, the options do not fit it, or the secret
            can be read by others.
        WorkError
            When a server dies, or is not ready in `READY_SECONDS` (of several: `NODES_SECONDS`).
        """
        options = self._options
        self._password = passwords.read(options.secret) if options.secret else None
        runtime = prepare(options, progress)
        with folder.writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = folder.lock(self.directory)
        try:
            state = read_json(self.directory / folder.STATE) or {}
            folder.end_processes(state)
            self._kafka = settle(options, state)
            self._earlier_cpu_seconds = state.get("cpu_seconds", 0.0)
            self._started, self._services = time.time(), {}
            with folder.writing(self.directory):
                self.save("starting")
                self._write_files()
            self._start_servers(runtime, progress)
            self._announce(check, announce)
            self._wait_ready(progress, check)
        except DeeptoolError as error:
            self.stop(error)
            raise
        except BaseException:
            self.stop()
            raise
        self.save("ready")

    def check(self) -> None:
        """Raise `WorkError` with the end of its log if a server has died."""
        try:
            for service in self._services.values():
                service.check()
        except WorkError as error:
            if shutil.disk_usage(self.directory).free > _SPARE_BYTES:
                raise
            raise WorkError(
                f"{error.what}: the disk is full",
                seen=error.seen,
                next_step=f"free space in {self.directory}, then up again: what is stored stays",
            ) from error

    def watch(self, check: Check, save_every: float = 5.0) -> None:
        """Never return: raise what `check` raises, or `WorkError` when a server has died."""
        saved = time.monotonic()
        while True:
            check()
            self.check()
            if time.monotonic() - saved > save_every:
                self.save("ready")
                saved = time.monotonic()
            time.sleep(_STEP)

    def kill(self) -> None:
        """Kill the broker's process (SIGKILL), and only that."""
        self._services["broker"].kill()

    def restart(self) -> None:
        """Start the broker's process again after `kill`; return when it is ready."""
        self._services["broker"].start()
        self._wait_ready(lambda line: None, lambda: None)
        self.save("ready")

    def stop(self, error: DeeptoolError | None = None) -> None:
        """End the broker, then ZooKeeper, and kill what does not end in time.

        Parameters
        ----------
        error : DeeptoolError, optional
            The failure to leave in the state file.
        """
        if self._lock is None:
            return
        for name in ("broker", "zookeeper"):
            if name in self._services:
                self._services[name].stop(STOP_SECONDS)
        try:
            if self._kafka is not None:
                self.save("failed" if error else "stopped", str(error) if error else None)
        except OSError:
            # A full disk is a likely cause of the error: let that be the one that is reported.
            if error is None:
                raise
        finally:
            shutil.rmtree(self.directory / PRIVATE, ignore_errors=True)
            self._lock.close()
            self._lock = None

    def abandon(self) -> None:
        """End everything at once: for data that goes too."""
        for service in self._services.values():
            service.kill()
        self.stop()

    def cpu_seconds(self) -> float:
        """CPU seconds of this folder's servers, those of earlier starts included."""
        # A copy: it is asked for by another thread, too.
        services = list(self._services.values())
        return self._earlier_cpu_seconds + sum(service.cpu_seconds() for service in services)

    def save(self, state: str, error: str | None = None) -> None:
        """Write the state file."""
        settled = self.config
        write_json(
            self.directory / folder.STATE,
            {
                "state": state,
                "error": error,
                "bootstrap": settled.bootstrap,
                "mode": settled.mode,
                "host": settled.host,
                "port": settled.port,
                "metadata_port": settled.metadata_port,
                "node": settled.node,
                "nodes": self._options.nodes,
                "replication": settled.replication,
                "secured": settled.jaas is not None,
                "memory": self._options.memory,
                "version": kafka.VERSION,
                "supervisor": identity(os.getpid()),
                "processes": {name: identity(pid) for name, pid in self.pids.items()},
                "cpu_seconds": round(self.cpu_seconds(), 3),
                "started": self._started,
                "updated": time.time(),
                "logs": {name: str(service.log) for name, service in self._services.items()},
            },
        )

    def _write_files(self) -> None:
        home, settled = self.directory, self.config
        private = home / PRIVATE
        for path in (home / "tmp", private):
            shutil.rmtree(path, ignore_errors=True)
        for path in (home / "logs", home / "tmp", settled.log_dir):
            path.mkdir(parents=True, exist_ok=True)
        private.mkdir(mode=0o700)
        if self._password and settled.jaas:
            settled.data.chmod(0o700)
            write_text(settled.jaas, passwords.jaas(self._password), 0o600)
        write_text(home / "log4j.properties", kafka.log4j_properties())
        if settled.mode == "zookeeper" and settled.node == 0:
            write_text(home / "zookeeper.properties", kafka.zookeeper_properties(settled))

    def _service(
        self, runtime: kafka.Runtime, name: str, main: str, heap: str, *arguments: str | Path
    ) -> Service:
        home, images = self.directory, self._options.images
        jaas = self.config.jaas
        argv = kafka.java_argv(runtime, main, arguments, home=home, heap=heap, jaas=jaas)
        if images:
            image = images.zookeeper if name == "zookeeper" else images.kafka
            argv = [*apptainer.exec_argv(images.program, image, argv, binds=[home], pid=True)]
        return Service(
            name,
            argv,
            home / "logs" / f"{name}.log",
            guard=images is not None,
            # Not to be asked: a broker whose ZooKeeper has left before it may try to end for ever.
            orphaned=signal.SIGKILL,
        )

    def _start_servers(self, runtime: kafka.Runtime, progress: Progress) -> None:
        home, settled = self.directory, self.config
        file = home / "broker.properties"
        if settled.mode == "zookeeper" and settled.node == 0:
            progress(f"starting ZooKeeper on port {settled.metadata_port}")
            zookeeper = self._service(
                runtime, "zookeeper", kafka.ZOOKEEPER_MAIN, "128m", home / "zookeeper.properties"
            )
            zookeeper.start()
            self._services["zookeeper"] = zookeeper
            if self._user_is_missing():
                self._write_user(runtime, progress)
        formatted = (settled.log_dir / "meta.properties").exists()
        # The user of a new data folder is written by its format.
        self._renew = settled.mode == "kraft" and formatted and self._user_is_missing()
        write_text(file, kafka.broker_properties(settled, self._renew))
        if settled.mode == "kraft" and not formatted:
            progress("formatting the data folder")
            self._format(runtime, file)
        progress(f"starting Kafka {kafka.VERSION} ({settled.mode} mode) on {settled.bootstrap}")
        broker = self._service(runtime, "broker", kafka.BROKER_MAIN, self._options.memory, file)
        broker.start()
        self._services["broker"] = broker
        self.save("starting")

    def _format(self, runtime: kafka.Runtime, file: Path) -> None:
        """Format a KRaft data folder."""
        metadata = self._options.metadata
        new = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        cluster_id = metadata.cluster_id if metadata else new
        arguments = self.directory / PRIVATE / "format.args"
        text = kafka.format_arguments(self.config, cluster_id, file, self._password)
        write_text(arguments, text, 0o600)
        tool = self._service(runtime, "format", kafka.STORAGE_MAIN, "128m", f"@{arguments}")
        self._run_tool(tool)
        arguments.unlink()
        self._note_user()

    def _write_user(self, runtime: kafka.Runtime, progress: Progress) -> None:
        """Write what SCRAM compares passwords with into ZooKeeper."""
        progress("writing the user")
        file = self.directory / PRIVATE / "user.properties"
        write_text(file, kafka.user_properties(self._password or ""), 0o600)
        tool = self._service(
            runtime,
            "user",
            kafka.CONFIG_MAIN,
            "128m",
            *("--zookeeper", self.config.metadata, "--alter", "--entity-type", "users"),
            *("--entity-name", passwords.USER, "--add-config-file", file),
        )
        self._run_tool(tool)
        file.unlink()
        self._note_user()

    def _run_tool(self, tool: Service) -> None:
        tool.run(READY_SECONDS)
        self._earlier_cpu_seconds += tool.cpu_seconds()

    @property
    def _user_file(self) -> Path:
        """Which password the data opens to."""
        return self.config.data / "user.sha256"

    def _user_is_missing(self) -> bool:
        """Whether this node is to write the user: its data knows none, or another password."""
        if self._password is None or self.config.node > 0:
            return False
        try:
            return self._user_file.read_text(encoding="utf-8") != passwords.digest(self._password)
        except FileNotFoundError:
            return True

    def _note_user(self) -> None:
        if self._password is not None:
            write_text(self._user_file, passwords.digest(self._password), 0o600)

    def _announce(self, check: Check, announce: Announce) -> None:
        """Wait for node 0's metadata server, and say where it is."""
        settled = self.config
        if settled.node > 0:
            return
        deadline = time.monotonic() + READY_SECONDS
        while not ports.answers(settled.host, settled.metadata_port):
            check()
            self.check()
            if time.monotonic() > deadline:
                raise WorkError("the cluster's metadata server did not start in time")
            time.sleep(_STEP)
        cluster_id = ""
        if settled.mode == "kraft":
            lines = (settled.log_dir / "meta.properties").read_text(encoding="utf-8").splitlines()
            cluster_id = dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]
        announce(Metadata(settled.metadata, cluster_id))

    def _wait_ready(self, progress: Progress, check: Check) -> None:
        broker, nodes = self._services["broker"], self._options.nodes
        seconds = READY_SECONDS if nodes == 1 else NODES_SECONDS
        deadline = time.monotonic() + READY_SECONDS

        def waiting() -> None:
            check()
            self.check()

        told = False
        while True:
            try:
                if self._renew and self._password:
                    write_user(self.client_properties, self._password, waiting, READY_SECONDS)
                    self._note_user()
                    self._renew = False
                return round_trip(self.client_properties, waiting, seconds, nodes, progress)
            except WorkError:
                session = broker.poll() is not None and "NodeExistsException" in broker.output()
                if not session or time.monotonic() > deadline:
                    raise
            if not told:
                progress("waiting for the ZooKeeper session of the broker that was killed to end")
                told = True
            time.sleep(1)
            broker.start()


def prepare(options: Options, progress: Progress) -> kafka.Runtime:
    """Where Java and Kafka are: in the images, else in the cache, fetched if need be.

    Raises
    ------
    UserError, WorkError
        When an image is missing, or as `hpc.broker.jars.runtime`.
    """
    if options.images is None:
        return jars.runtime(progress)
    for image in (options.images.kafka, options.images.zookeeper):
        apptainer.check_image(image)
    return kafka.IN_IMAGE
