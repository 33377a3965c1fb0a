"""A real Kafka in one folder: its files, its processes, and when it is ready."""

from __future__ import annotations

import base64
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.files import read_json, write_json, write_text
from hpc import folder, jars, kafka, ports
from hpc.probe import round_trip
from hpc.service import Service

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
_STEP = 0.05
# With less left a server that died is taken to have died of that: its log may not say so any more.
_SPARE_BYTES = 4 << 20

Check = Callable[[], None]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What is asked of a broker; None is what its folder says, or else the default.

    Parameters
    ----------
    directory : Path
        Its folder: settings, data, logs and state.
    mode : str, optional
        ``zookeeper`` (default) or ``kraft``.
    host : str, optional
        The address to listen on, 127.0.0.1 by default.
    port : int, optional
        The port for clients, a free one by default.
    memory : str
        The broker's heap, as Java writes it.
    """

    directory: Path
    mode: kafka.Mode | None = None
    host: str | None = None
    port: int | None = None
    memory: str = "512m"


class EmbeddedBroker:
    """The broker of one folder, and its ZooKeeper, as children of this process.

    A context manager: starts and stops. To be started from the main thread. On a folder that was
    used before it comes back with the same ports, ids and data; the lock on the folder keeps a
    second one away.
    """

    def __init__(self, options: Options) -> None:
        self.directory = Path(os.path.abspath(options.directory))
        self._options = replace(options, directory=self.directory)
        self._lock: IO[str] | None = None
        self._kafka: kafka.Kafka | None = None
        self._services: dict[str, Service] = {}
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
    def pids(self) -> dict[str, int]:
        """Name (``broker``, ``zookeeper``) -> process id of those that run."""
        return {name: pid for name, service in self._services.items() if (pid := service.pid)}

    def start(self, progress: Progress = lambda line: None, check: Check = lambda: None) -> None:
        """Start the servers and return when a record has made its round trip.

        Parameters
        ----------
        progress : callable
            Called with a line for each step.
        check : callable
            Called often: what it raises ends the start, and everything started is stopped.

        Raises
        ------
        UserError
            When a broker is up on this folder already, or the options do not fit it.
        WorkError
            When a server dies, or is not ready in `READY_SECONDS`.
        """
        runtime = jars.runtime(progress)
        with folder.writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = folder.lock(self.directory)
        try:
            state = read_json(self.directory / folder.STATE) or {}
            folder.end_processes(state)
            self._kafka = settle(self._options, state)
            self._earlier_cpu_seconds = state.get("cpu_seconds", 0.0)
            self._started, self._services = time.time(), {}
            with folder.writing(self.directory):
                self.save("starting")
                self._write_files()
            self._start_servers(runtime, progress)
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
            self._lock.close()
            self._lock = None

    def cpu_seconds(self) -> float:
        """CPU seconds of this folder's servers, those of earlier starts included."""
        services = self._services.values()
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
                "memory": self._options.memory,
                "version": kafka.VERSION,
                "supervisor": folder.identity(os.getpid()),
                "processes": {name: folder.identity(pid) for name, pid in self.pids.items()},
                "cpu_seconds": round(self.cpu_seconds(), 3),
                "started": self._started,
                "updated": time.time(),
                "logs": {name: str(service.log) for name, service in self._services.items()},
            },
        )

    def _write_files(self) -> None:
        home, settled = self.directory, self.config
        shutil.rmtree(home / "tmp", ignore_errors=True)
        for path in (home / "logs", home / "tmp", settled.log_dir):
            path.mkdir(parents=True, exist_ok=True)
        write_text(home / "log4j.properties", kafka.log4j_properties())
        write_text(home / "broker.properties", kafka.broker_properties(settled))
        if settled.mode == "zookeeper":
            write_text(home / "zookeeper.properties", kafka.zookeeper_properties(settled))

    def _start_servers(self, runtime: kafka.Runtime, progress: Progress) -> None:
        home, settled = self.directory, self.config

        def service(name: str, main: str, heap: str, *arguments: str | Path) -> Service:
            argv = kafka.java_argv(runtime, main, arguments, home=home, heap=heap)
            return Service(name, argv, home / "logs" / f"{name}.log")

        file = home / "broker.properties"
        if settled.mode == "zookeeper":
            progress(f"starting ZooKeeper on port {settled.metadata_port}")
            zookeeper = service(
                "zookeeper", kafka.ZOOKEEPER_MAIN, "128m", home / "zookeeper.properties"
            )
            zookeeper.start()
            self._services["zookeeper"] = zookeeper
        elif not (settled.log_dir / "meta.properties").exists():
            progress("formatting the data folder")
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            arguments = ("format", f"--cluster-id={cluster}", "--config", file)
            tool = service("format", kafka.STORAGE_MAIN, "128m", *arguments)
            tool.run(READY_SECONDS)
            self._earlier_cpu_seconds += tool.cpu_seconds()
        progress(f"starting Kafka {kafka.VERSION} ({settled.mode} mode) on {settled.bootstrap}")
        broker = service("broker", kafka.BROKER_MAIN, self._options.memory, file)
        broker.start()
        self._services["broker"] = broker
        self.save("starting")

    def _wait_ready(self, progress: Progress, check: Check) -> None:
        broker = self._services["broker"]
        deadline = time.monotonic() + READY_SECONDS

        def waiting() -> None:
            check()
            self.check()

        told = False
        while True:
            try:
                return round_trip({"bootstrap.servers": self.bootstrap}, waiting, READY_SECONDS)
            except WorkError:
                session = broker.poll() is not None and "NodeExistsException" in broker.output()
                if not session or time.monotonic() > deadline:
                    raise
            if not told:
                progress("waiting for the ZooKeeper session of the broker that was killed to end")
                told = True
            time.sleep(1)
            broker.start()


def settle(options: Options, state: Mapping[str, Any]) -> kafka.Kafka:
    """What `options` and a folder's earlier `state` come to.

    Raises
    ------
    UserError
        When they contradict each other, or the port is taken.
    """
    if "," in str(options.directory):
        raise UserError(
            "Kafka takes a comma in its data folder's name for the start of another one",
            seen=str(options.directory),
            valid="a folder without commas in its path",
        )
    mode = options.mode or state.get("mode", "zookeeper")
    if mode != state.get("mode", mode):
        raise UserError(
            "the broker of this folder was made in another mode, and its data with it",
            seen=f"--mode {mode} on {options.directory}",
            valid=f"--mode {state['mode']}, or a new folder",
        )
    host = options.host or state.get("host", "127.0.0.1")
    ports.check_host(host)
    port = options.port or state.get("port")
    if port is not None and not ports.is_free(host, port):
        kept = "" if options.port else ", which the clients of this folder's broker know"
        raise UserError(
            f"something else listens on the broker's port{kept}",
            seen=f"{host}:{port}",
            next_step="end that, or choose another port: --port P",
        )
    metadata_port = state.get("metadata_port")
    if metadata_port is None or not ports.is_free(host, metadata_port):
        (metadata_port,) = ports.free_ports(host, 1)
    if port is None:
        (port,) = ports.free_ports(host, 1)
    return kafka.Kafka(mode, host, port, metadata_port, options.directory / "data")
