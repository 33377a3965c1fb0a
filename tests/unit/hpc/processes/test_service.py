"""Child processes, with small shell scripts as servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deeptool.errors import WorkError
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
