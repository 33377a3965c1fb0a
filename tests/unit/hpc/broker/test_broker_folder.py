"""A broker's folder: its lock, its state, the end of what an earlier start left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deeptool.errors import UserError
from hpc.broker import folder
from hpc.broker.broker_state import BrokerState, write_broker_state
from hpc.processes import identity as processes


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
    write_broker_state(tmp_path, BrokerState("ready", bootstrap="127.0.0.1:20001"))
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
    folder.end_processes(BrokerState(processes=servers), timeout=0.1)
    assert sleeper.wait(10) == -signal.SIGKILL


def state(supervisor: dict[str, float], **more: Any) -> BrokerState:
    return BrokerState("ready", supervisor=supervisor, cpu_seconds=1.5, **more)


def test_a_supervisor_that_died_without_a_word_has_failed(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    write_broker_state(tmp_path, state(processes.identity(sleeper.pid)))
    assert folder.current_state(tmp_path).state == "ready"
    sleeper.kill()
    sleeper.wait()
    assert folder.current_state(tmp_path).state == "failed"
    assert folder.down(tmp_path, 1).cpu_seconds == 1.5


def test_down_kills_a_supervisor_that_does_not_end(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    deaf = subprocess.Popen(["sh", "-c", "trap '' USR1; echo; sleep 60"], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    deaf.stdout.readline()
    servers = {"broker": processes.identity(sleeper.pid)}
    write_broker_state(tmp_path, state(processes.identity(deaf.pid), processes=servers))
    ended = folder.down(tmp_path, 0.2)
    deaf.stdout.close()
    assert deaf.wait(10) == -signal.SIGKILL
    assert sleeper.wait(10) == -signal.SIGKILL
    assert ended.state == "stopped"
    assert folder.current_state(tmp_path).processes == {}


def test_a_folder_that_is_no_brokers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no broker was ever started there"):
        folder.current_state(tmp_path)


def test_disk_usage_counts_what_is_on_disk_not_holes(tmp_path: Path) -> None:
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "data").write_bytes(bytes(range(256)) * 400)
    assert 102_400 <= folder.disk_usage(tmp_path) < 1 << 20
