"""Child processes, and the folder of a broker, with small shell scripts as servers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from deeptool.errors import Terminated, UserError, WorkError
from deeptool.files import read_json, write_json
from hpc.broker import folder
from hpc.broker.embedded import EmbeddedBroker, Metadata, Options, settle
from hpc.broker.ports import free_ports
from hpc.broker.supervisor import Signals
from hpc.processes import identity as processes
from hpc.processes.service import Service


def make(tmp_path: Path, script: str) -> Service:
    return Service("server", ["sh", "-c", script], tmp_path / "server.log")


def wait_for(service: Service, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in service.output():
        assert time.monotonic() < deadline, service.output()
        time.sleep(0.01)


def test_a_server_runs_until_it_is_stopped(tmp_path: Path) -> None:
    service = make(tmp_path, "echo up; exec sleep 60")
    service.start()
    wait_for(service, "up")
    service.check()
    pid = service.pid
    assert pid is not None
    assert os.getsid(pid) == pid, "its own session: no terminal's Ctrl-C reaches it"
    service.stop(10)
    assert service.poll() == -signal.SIGTERM
    assert not psutil.pid_exists(pid)
    assert service.pid is None


def test_one_that_ignores_term_is_killed(tmp_path: Path) -> None:
    service = make(tmp_path, "trap '' TERM; echo up; while :; do sleep 0.1; done")
    service.start()
    wait_for(service, "up")
    service.stop(0.2)
    assert service.poll() == -signal.SIGKILL


def test_a_dead_server_is_told_by_the_errors_in_its_log(tmp_path: Path) -> None:
    service = make(tmp_path, "echo '[1] INFO fine (a)'; echo '[2] ERROR no space (b)'; exit 7")
    service.start()
    deadline = time.monotonic() + 10
    while service.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(WorkError, match=r"server has ended \(exit code 7\)") as caught:
        service.check()
    assert "[2] ERROR no space (b)" in str(caught.value)
    assert "INFO fine" not in str(caught.value)
    assert str(service.log) in str(caught.value)


def test_or_by_its_last_lines_and_only_those_of_this_run(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("[0] ERROR of an earlier run\n")
    service = make(tmp_path, "seq 100 120; kill -9 $$")
    with pytest.raises(WorkError, match="SIGKILL") as caught:
        service.run(10)
    assert "\n    120" in str(caught.value)
    assert "\n    110" not in str(caught.value)
    assert "earlier run" not in str(caught.value)


def test_run_waits_for_the_work_and_its_limit(tmp_path: Path) -> None:
    make(tmp_path, "exit 0").run(10)
    with pytest.raises(WorkError, match="SIGKILL"):
        make(tmp_path, "exec sleep 60").run(0.1)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="could not be started"):
        Service("server", [str(tmp_path / "java")], tmp_path / "log").start()


def test_cpu_seconds_add_up_over_restarts(tmp_path: Path) -> None:
    script = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)"
    service = Service("server", [sys.executable, "-c", script], tmp_path / "log")
    assert service.cpu_seconds() == 0
    service.run(30)
    once = service.cpu_seconds()
    assert once >= 0.3
    service.run(30)
    assert service.cpu_seconds() >= once + 0.3


def test_settings_for_other_jvms_do_not_reach_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1k")
    monkeypatch.setenv("KEPT", "kept")
    service = make(tmp_path, 'echo "[$JAVA_TOOL_OPTIONS][$KEPT]"')
    service.run(10)
    assert service.output() == "[][kept]\n"


# A program that, like Apptainer, has the kernel forget whom it is to end with, and has children.
FORGETFUL = """
import ctypes, os, subprocess, sys, time
ctypes.CDLL(None).prctl(1, 0)
children = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
print(os.getpid(), *[child.pid for child in children], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("orphaned", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("guard", [False, True])
def test_a_server_ends_with_the_process_that_started_it(
    tmp_path: Path, guard: bool, orphaned: signal.Signals
) -> None:
    program = [sys.executable, "-c", FORGETFUL] if guard else ["sleep", "60"]
    script = f"""
import time
from pathlib import Path
from hpc.processes.service import Service
service = Service(
    "server", {program!r}, Path({str(tmp_path / "log")!r}), guard={guard}, orphaned={int(orphaned)}
)
service.start()
while {guard} and not service.output().endswith("\\n"):
    time.sleep(0.01)
print(service.pid, service.output().strip(), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    family = [processes.identity(int(pid)) for pid in parent.stdout.readline().split()]
    assert all(map(processes.alive, family))
    assert len(family) == (4 if guard else 1)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    # What a program that was asked to end does with its children is its own matter.
    assert processes.wait_gone(family if orphaned == signal.SIGKILL else family[:2], 10)
    for left in filter(processes.alive, family):
        os.kill(int(left["pid"]), signal.SIGKILL)


def test_a_guarded_server_ends_as_its_program_does(tmp_path: Path) -> None:
    log = tmp_path / "log"
    Service("server", ["true"], log, guard=True).run(10)
    with pytest.raises(WorkError, match="exit code 7"):
        Service("server", ["sh", "-c", "exit 7"], log, guard=True).run(10)
    script = "trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.1; done"
    service = Service("server", ["sh", "-c", script], log, guard=True)
    service.start()
    wait_for(service, "up")
    service.stop(10)
    assert service.poll() == 3
    assert service.output() == "up\nasked\n"


def test_a_server_is_killed_with_its_children(tmp_path: Path) -> None:
    service = Service("server", [sys.executable, "-c", FORGETFUL], tmp_path / "log", guard=True)
    service.start()
    wait_for(service, "\n")
    family = [processes.identity(int(pid)) for pid in service.output().split()]
    assert len(family) == 3
    service.kill()
    assert processes.wait_gone(family, 5)
    assert service.poll() == -signal.SIGKILL


@pytest.mark.parametrize(("free", "full"), [(1 << 10, True), (1 << 30, False)])
def test_a_server_that_died_of_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, full: bool
) -> None:
    service = make(tmp_path, "exit 1")
    with pytest.raises(WorkError):
        service.run(10)
    broker = EmbeddedBroker(Options(tmp_path))
    monkeypatch.setattr(broker, "_services", {"broker": service})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(WorkError) as caught:
        broker.check()
    assert ("the disk is full" in str(caught.value)) == full


# The folder.


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_recycled_process_id_is_not_the_same_process(
    sleeper: subprocess.Popen[bytes],
) -> None:
    identity = processes.identity(sleeper.pid)
    assert processes.alive(identity)
    assert not processes.alive(identity | {"started": identity["started"] - 60})
    sleeper.kill()
    sleeper.wait()
    assert not processes.alive(identity)
    assert not processes.alive(processes.identity(sleeper.pid))


def test_the_lock_says_who_is_there(tmp_path: Path) -> None:
    write_json(tmp_path / folder.STATE, {"state": "ready", "bootstrap": "127.0.0.1:20001"})
    with folder.lock(tmp_path):
        with pytest.raises(UserError, match="is up on") as caught:
            folder.lock(tmp_path)
        assert "ready, at 127.0.0.1:20001" in str(caught.value)
        assert f"deeptool-hpc broker down --dir {tmp_path}" in str(caught.value)
    folder.lock(tmp_path).close()


def test_servers_left_by_a_killed_supervisor_are_ended(
    sleeper: subprocess.Popen[bytes],
) -> None:
    stranger = processes.identity(os.getpid()) | {"started": 1.0}
    servers = {"broker": processes.identity(sleeper.pid), "zookeeper": stranger}
    folder.end_processes({"processes": servers}, timeout=0.1)
    assert sleeper.wait(10) == -signal.SIGKILL


def state(supervisor: dict[str, float], **more: object) -> dict[str, object]:
    return {
        "state": "ready",
        "error": None,
        "bootstrap": "127.0.0.1:20001",
        "supervisor": supervisor,
        "processes": {},
        "cpu_seconds": 1.5,
    } | more


def test_a_supervisor_that_died_without_a_word_has_failed(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    write_json(tmp_path / folder.STATE, state(processes.identity(sleeper.pid)))
    assert folder.read_state(tmp_path)["state"] == "ready"
    sleeper.kill()
    sleeper.wait()
    assert folder.read_state(tmp_path)["state"] == "failed"
    assert folder.down(tmp_path, 1)["cpu_seconds"] == 1.5


def test_down_kills_a_supervisor_that_does_not_end(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    deaf = subprocess.Popen(["sh", "-c", "trap '' USR1; echo; sleep 60"], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    deaf.stdout.readline()
    servers = {"broker": processes.identity(sleeper.pid)}
    write_json(tmp_path / folder.STATE, state(processes.identity(deaf.pid), processes=servers))
    ended = folder.down(tmp_path, 0.2)
    deaf.stdout.close()
    assert deaf.wait(10) == -signal.SIGKILL
    assert sleeper.wait(10) == -signal.SIGKILL
    assert ended["state"] == "stopped"
    assert read_json(tmp_path / folder.STATE)["processes"] == {}


def test_a_folder_that_is_no_brokers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no broker was ever started there"):
        folder.status(tmp_path)


def test_disk_usage_counts_what_is_on_disk_not_holes(tmp_path: Path) -> None:
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "data").write_bytes(bytes(range(256)) * 400)
    assert 102_400 <= folder.disk_usage(tmp_path) < 1 << 20


# What was asked for, and what the folder says.


def test_settle_makes_a_new_broker(tmp_path: Path) -> None:
    settled = settle(Options(tmp_path), {})
    assert (settled.mode, settled.host) == ("zookeeper", "127.0.0.1")
    assert settled.port != settled.metadata_port
    assert settled.data == tmp_path / "data"


def test_settle_comes_back_with_the_same_ports(tmp_path: Path) -> None:
    port, metadata_port = free_ports("127.0.0.1", 2)
    before = {"mode": "kraft", "host": "127.0.0.1", "port": port, "metadata_port": metadata_port}
    settled = settle(Options(tmp_path), before)
    assert (settled.mode, settled.port, settled.metadata_port) == ("kraft", port, metadata_port)
    (other,) = free_ports("127.0.0.1", 1)
    assert settle(Options(tmp_path, port=other), before).port == other


def test_settle_refuses_another_mode(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another mode") as caught:
        settle(Options(tmp_path, mode="kraft"), {"mode": "zookeeper"})
    assert "--mode zookeeper" in str(caught.value)


def test_settle_refuses_a_folder_that_kafka_would_misread(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="comma"):
        settle(Options(tmp_path / "a,b"), {})


@pytest.mark.parametrize("asked", [True, False])
def test_settle_refuses_a_port_that_is_taken(tmp_path: Path, asked: bool) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(UserError, match="something else listens") as caught:
            settle(Options(tmp_path, port=port if asked else None), {} if asked else {"port": port})
        assert f"127.0.0.1:{port}" in str(caught.value)
        # Clients know nothing of ZooKeeper's port: that one may change.
        assert settle(Options(tmp_path), {"metadata_port": port}).metadata_port != port


def test_settle_takes_another_port_where_none_was_insisted_on(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        settled = settle(Options(tmp_path, port_fixed=False), {"port": port})
        assert settled.port != port
    assert settle(Options(tmp_path, port_fixed=False), {"port": port}).port == port


def test_settle_joins_a_cluster(tmp_path: Path) -> None:
    joining = Options(tmp_path, node=1, nodes=2, metadata=Metadata("10.0.0.1:2181"))
    settled = settle(joining, {})
    assert (settled.node_id, settled.metadata) == (2, "10.0.0.1:2181")
    assert settle(Options(tmp_path, nodes=2, replication=2), {}).metadata.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "state", "seen"),
    [
        ({"node": 2, "nodes": 2}, {}, "node 2 of 2"),
        ({"replication": 2}, {}, "replication 2, 1 brokers"),
        ({"replication": 0}, {}, "replication 0"),
        ({"node": 1, "nodes": 2}, {}, "metadata None"),
        ({"metadata": Metadata("h:1")}, {}, "node 0, metadata"),
        ({"node": 1, "nodes": 2, "metadata": Metadata("h:1")}, {"node": 0}, "node 1 on"),
        ({"node": 1, "nodes": 2, "metadata": Metadata("h:1", "id")}, {}, "cluster id 'id'"),
        ({"node": 1, "nodes": 2, "metadata": Metadata("h:1"), "mode": "kraft"}, {}, "id ''"),
    ],
)
def test_settle_refuses_what_is_no_node_of_a_cluster(
    tmp_path: Path, options: dict[str, Any], state: dict[str, Any], seen: str
) -> None:
    with pytest.raises(UserError) as caught:
        settle(Options(tmp_path, **options), state)
    assert seen in str(caught.value.seen)


def test_signals_are_noted_and_raised_where_it_is_safe() -> None:
    before = signal.getsignal(signal.SIGHUP)
    signals = Signals()
    with signals.caught():
        signals.check()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Terminated) as caught:
            signals.check()
    assert caught.value.exit_code == 128 + signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) == before
