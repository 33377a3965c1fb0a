"""A real Kafka in one folder: its files, its processes, and when it is ready."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from deeptool.errors import DeeptoolError, WorkError
from deeptool.files import write_text
from hpc.broker import disk_reserve, folder, jars, passwords, ports, servers
from hpc.broker.broker_options import PRIVATE, BrokerOptions, Metadata, settle
from hpc.broker.broker_state import BrokerState, read_broker_state, write_broker_state
from hpc.broker.class_archive import keep_class_names
from hpc.broker.data_folder import cluster_id, note_user, read_data_state
from hpc.broker.limits import limits_here
from hpc.broker.node import VERSION, BrokerNode
from hpc.broker.readiness import round_trip, write_user
from hpc.broker.stale_node import node_was_stale
from hpc.processes.apptainer import Images
from hpc.processes.identity import identity
from hpc.processes.service import Service

__all__ = ["BrokerOptions", "EmbeddedBroker", "Images", "Metadata", "settle"]

READY_SECONDS = 60.0
# Nodes are jobs that may have to wait for each other.
NODES_SECONDS = 600.0
STOP_SECONDS = 20.0
_STEP = 0.05

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

    def __init__(self, options: BrokerOptions) -> None:
        self.directory = Path(os.path.abspath(options.directory))
        self._options = replace(options, directory=self.directory)
        self._lock: IO[str] | None = None
        self._node: BrokerNode | None = None
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
    def config(self) -> BrokerNode:
        """What its files were written for: mode, address, ``log_dir``."""
        if self._node is None:
            raise WorkError("the broker was not started")
        return self._node

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
        runtime = jars.prepare(options, progress)
        with folder.writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = folder.lock(self.directory)
            disk_reserve.release_reserve(self.directory)
        try:
            earlier = read_broker_state(self.directory) or BrokerState()
            folder.end_processes(earlier)
            self._node = settle(options, earlier)
            setup = servers.BrokerSetup(
                *(self._node, self.directory, runtime, options.memory, options.images),
                password=self._password,
                limits=options.limits or limits_here(options.memory, progress),
            )
            self._earlier_cpu_seconds = earlier.cpu_seconds
            self._started, self._services = time.time(), {}
            with folder.writing(self.directory):
                self.save("starting")
                self._make_folders(self._node)
                _write_files(servers.common_files(setup))
            self._start_servers(setup, progress)
            self._announce(check, announce)
            self._wait_ready(progress, check)
        except DeeptoolError as error:
            self.stop(error)
            raise
        except BaseException:
            self.stop()
            raise
        if runtime.class_names:
            noted = sorted((self.directory / "tmp").glob(f"*{servers.CLASSES}"))
            keep_class_names(runtime.class_names, noted)
        if warning := disk_reserve.warning(self.directory, self.bootstrap):
            progress(warning)
        disk_reserve.keep_reserve(self.directory)
        self.save("ready")

    def check(self) -> None:
        """Raise `WorkError` with the end of its log if a server has died."""
        for service in self._services.values():
            try:
                service.check()
            except WorkError as error:
                if not disk_reserve.died_of_full_disk(self.directory, service.output()):
                    raise
                disk_reserve.give_part(self.directory)
                secured = self._options.secret is not None
                raise disk_reserve.disk_full(
                    self.directory, error.what, secured=secured, seen=f";{error.seen}"
                ) from error

    def watch(self, check: Check, save_every: float = 5.0) -> None:
        """Never return: raise what `check` raises, or `WorkError` when a server has died."""
        saved = time.monotonic()
        while True:
            check()
            self.check()
            if time.monotonic() - saved > save_every:
                # Another program may have filled the disk: the broker can still be read from.
                with suppress(OSError):
                    self.save("ready")
                    disk_reserve.keep_reserve(self.directory)
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
            if self._node is not None:
                self.save("failed" if error else "stopped", error)
            disk_reserve.keep_reserve(self.directory)
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

    def save(self, state: str, error: DeeptoolError | None = None) -> None:
        """Write the state file."""
        node = self.config
        written = BrokerState(
            state=state,
            error=str(error) if error else None,
            disk_full=isinstance(error, disk_reserve.DiskFull),
            bootstrap=node.bootstrap,
            mode=node.mode,
            host=node.host,
            port=node.port,
            metadata_port=node.metadata_port,
            node=node.node,
            nodes=self._options.nodes,
            replication=node.replication,
            secured=node.jaas is not None,
            memory=self._options.memory,
            version=VERSION,
            supervisor=identity(os.getpid()),
            processes={name: identity(pid) for name, pid in self.pids.items()},
            cpu_seconds=round(self.cpu_seconds(), 3),
            started=self._started,
            updated=time.time(),
            logs={name: str(service.log) for name, service in self._services.items()},
        )
        disk_reserve.write_into_reserve(
            self.directory, lambda: write_broker_state(self.directory, written)
        )

    def _make_folders(self, node: BrokerNode) -> None:
        home = self.directory
        for path in (home / "tmp", home / PRIVATE):
            shutil.rmtree(path, ignore_errors=True)
        for path in (home / "logs", home / "tmp", node.log_dir):
            path.mkdir(parents=True, exist_ok=True)
        (home / PRIVATE).mkdir(mode=0o700)
        if self._password:
            node.data.chmod(0o700)

    def _start_servers(self, setup: servers.BrokerSetup, progress: Progress) -> None:
        data = read_data_state(setup.node, setup.password, self._options.metadata)
        self._renew = servers.renews_user(setup, data)
        for process in servers.start_order(setup, data):
            progress(process.step)
            _write_files(process.files)
            service = Service(
                process.name,
                process.argv,
                process.log,
                guard=process.guard,
                # Not to be asked: a broker whose ZooKeeper left before it may try to end for ever.
                orphaned=signal.SIGKILL,
            )
            if process.stays:
                service.start()
                self._services[process.name] = service
                self.save("starting")
                continue
            service.run(READY_SECONDS)
            self._earlier_cpu_seconds += service.cpu_seconds()
            for file in process.files:
                if file.passing:
                    file.path.unlink()
            note_user(setup.node, setup.password)

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
        announce(Metadata(settled.metadata, cluster_id(settled)))

    def _wait_ready(self, progress: Progress, check: Check) -> None:
        broker, nodes = self._services["broker"], self._options.nodes
        seconds = READY_SECONDS if nodes == 1 else NODES_SECONDS
        deadline = time.monotonic() + READY_SECONDS

        def waiting() -> None:
            check()
            self.check()

        announced = False
        while True:
            try:
                if self._renew and self._password:
                    write_user(self.client_properties, self._password, waiting, READY_SECONDS)
                    note_user(self.config, self._password)
                    self._renew = False
                return round_trip(self.client_properties, waiting, seconds, nodes, progress)
            except WorkError:
                stale = broker.poll() is not None and node_was_stale(broker.output())
                if not stale or time.monotonic() > deadline:
                    raise
            if not announced:
                progress("waiting for the ZooKeeper session of the broker that was killed to end")
                announced = True
            time.sleep(1)
            broker.start()


def _write_files(files: Iterable[servers.ServerFile]) -> None:
    for file in files:
        write_text(file.path, file.text, 0o600 if file.private else 0o644)
