"""Jobs as processes on this machine, through submitit's local executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from deeptool.errors import WorkError
from hpc.local.executor import LocalExecutor, Running
from hpc.local.fork_server import fork_server
from hpc.processes import apptainer
from hpc.processes.container import Container, installed
from hpc.processes.identity import alive, identity
from hpc.processes.job import Job
from hpc.processes.record import JobRecord, read_job_record

SECONDS = 60


class Jobs:
    """Submits Python code as jobs, and leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._executor = LocalExecutor(folder / "submitit", lambda name: (sys.executable, "-c"))
        self._running: list[Running] = []

    def __call__(self, code: str, grace: float = 10.0, **options: Any) -> Running:
        name = f"job-{len(self._running)}"
        log, record = self.folder / f"{name}.log", self.folder / f"{name}.json"
        job = Job(name, ("code", code), log, record, grace, **options)
        self._running.append(self._executor.submit(job))
        return self._running[-1]

    def end(self) -> None:
        for running in self._running:
            if not running.done():
                running.kill()


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path)
    yield made
    made.end()


def wait(condition: Any) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return value


def process(running: Running) -> dict[str, float]:
    """The identity of a job's own process, once it says that it is there."""
    wait(lambda: "there" in log(running))
    # The job says so only after it has started the process.
    found: dict[str, float] = wait(lambda: said(running).processes.get("process"))
    return found


def log(running: Running) -> str:
    return running.job.log.read_text() if running.job.log.exists() else ""


def said(running: Running) -> JobRecord:
    """What the job says of itself so far."""
    return read_job_record(running.job.record) or JobRecord()


def record(running: Running) -> JobRecord:
    wait(running.done)
    return said(running)


WAIT = "import time; print('there', flush=True); time.sleep(60)"
TERMS = """
import signal, sys, time
def note(signum, frame):
    print('asked', flush=True)
signal.signal(signal.SIGTERM, note)
print('there', flush=True)
time.sleep(2); time.sleep(60)
"""


def test_a_job_says_how_it_ended(jobs: Jobs) -> None:
    before = time.time()
    code = "import sys; sum(range(10**7)); print('out'); print('err', file=sys.stderr); exit(7)"
    running = jobs(code)
    found = record(running)
    assert found.exit_code == 7
    assert sorted(log(running).split()) == ["err", "out"]
    assert sorted(found.tail) == ["err", "out"]
    assert found.start is not None
    assert found.end is not None
    assert before <= found.start <= found.end <= time.time()
    assert found.cpu_seconds is not None
    assert 0.02 < found.cpu_seconds < 20
    assert found.processes == {}


def test_its_environment_is_the_launch_s(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("FROM_LAUNCH", "a")
    running = jobs(
        "import os, signal; e = os.environ; print(e['CUDA_VISIBLE_DEVICES'], e['FROM_LAUNCH'],"
        "e['OWN'], [k for k in e if k.startswith('SUBMITIT')],"
        "signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT))",
        env={"OWN": "b"},
    )
    record(running)
    assert log(running).startswith("3,5 a b [] set() <built-in function default_int_handler>")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    running = jobs("import os; print('CUDA_VISIBLE_DEVICES' in os.environ)")
    record(running)
    # submitit sets it to nothing, which hides all GPUs.
    assert log(running) == "False\n"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path / "submitit", lambda name: ("/no/such/program",))
    job = Job("job", ("x",), tmp_path / "log", tmp_path / "record.json", 1.0)
    found = record(executor.submit(job))
    assert found.exit_code == 127
    assert "could not be started" in str(found.error)


def test_asked_often_it_is_told_once(jobs: Jobs) -> None:
    running = jobs(TERMS, grace=1.0)
    own = process(running)
    for _ in range(5):
        running.stop()
        time.sleep(0.1)
    # It would go on for a minute: the grace ends that.
    assert record(running).exit_code == 128 + signal.SIGKILL
    assert log(running) == "there\nasked\n"
    assert not alive(own)


def test_stopping_a_job_that_has_hardly_begun(jobs: Jobs) -> None:
    running = jobs(WAIT)

    def ended() -> bool:
        running.stop()
        time.sleep(0.1)
        return running.done()

    wait(ended)
    assert said(running).exit_code in (None, 128 + signal.SIGTERM)
    assert not said(running).processes


def test_what_a_process_leaves_in_its_group_goes_with_it(jobs: Jobs) -> None:
    code = "import subprocess as s; print(s.Popen(['sleep', '60']).pid, flush=True)"
    running = jobs(code)
    assert record(running).exit_code == 0
    left = int(log(running))
    wait(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == "zombie")


@pytest.mark.parametrize("victim", ["controller", "job"])
def test_none_of_the_processes_outlives_another(jobs: Jobs, victim: str) -> None:
    running = jobs(WAIT)
    own = process(running)
    processes = said(running).processes
    everyone = {**processes, "controller": running.controller}
    os.kill(int(everyone[victim]["pid"]), signal.SIGKILL)
    wait(lambda: not alive(own))
    wait(running.done)
    wait(lambda: not any(map(alive, everyone.values())))


def test_killing_a_job_leaves_nothing(jobs: Jobs) -> None:
    running = jobs(TERMS)
    own = process(running)
    running.kill()
    wait(running.done)
    wait(lambda: not alive(own))
    assert said(running).exit_code is None


def test_it_ends_with_its_launch(jobs: Jobs) -> None:
    launch = subprocess.Popen(["sleep", "60"])
    running = jobs(WAIT, launch=identity(launch.pid))
    own = process(running)
    assert not running.done()
    launch.kill()
    launch.wait()
    assert record(running).exit_code == 128 + signal.SIGTERM
    assert not alive(own)


def test_a_terminal_s_ctrl_c_is_not_for_jobs(tmp_path: Path) -> None:
    """SIGINT to a whole process group, as a terminal sends it, reaches the launch alone."""
    script = f"""
import os, signal, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_executor as t
jobs = t.Jobs(Path({str(tmp_path)!r}))
running = jobs({WAIT!r})
t.process(running)
hits = []
signal.signal(signal.SIGINT, lambda signum, frame: hits.append(signum))
os.killpg(0, signal.SIGINT)
time.sleep(1)
print(len(hits), running.done(), flush=True)
running.stop()
t.wait(running.done)
print(t.record(running).exit_code)
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert result.stdout.splitlines() == ["1 False", "143"], result.stderr


def test_programs_are_those_beside_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("deeptool") == (str(Path(sys.executable).parent / "deeptool"),)
    with pytest.raises(WorkError, match="deeptool-nowhere is not installed"):
        installed("deeptool-nowhere")


def test_a_trial_is_forked_and_stopped_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where pytest says which test runs: the server would have it, and jobs, but not the same.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    settings = tmp_path / "settings.py"
    settings.write_text(WAIT)
    words = ("train", "--usersettings", str(settings), "--no-kafka")
    launch = identity(os.getpid())
    with fork_server(installed, tmp_path / "server.log") as address:
        executor = LocalExecutor(tmp_path / "submitit", installed, forks=address)
        argv = ("deeptool", *words)
        submitted = []
        for name in ("a", "b"):
            job = Job(name, argv, tmp_path / f"{name}.log", tmp_path / f"{name}.json", 20.0)
            # What only one of them has may matter to an import.
            env = {"DEEPTOOL_OWNER": name} if name == "a" else {"TF_CPP_MIN_LOG_LEVEL": "1"}
            submitted.append(executor.submit(replace(job, env=env, launch=launch)))
        own = [process(running) for running in submitted]
        parents = [psutil.Process(int(each["pid"])).ppid() for each in own]
        (server,) = [
            each for each in psutil.Process().children() if "trial_server" in each.cmdline()
        ]
        assert parents[0] == server.pid
        assert parents[1] == said(submitted[1]).processes["job"]["pid"]
        for running in submitted:
            running.stop()
            found = record(running)
            assert found.exit_code == 128 + signal.SIGTERM
            assert found.tail[-1] == "ended by SIGTERM"
            assert found.cpu_seconds is not None
        assert not any(map(alive, own))


def test_in_an_image_nothing_is_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Job] = []

    class Submitted:
        job_id = "1"

    image = tmp_path / "tensorflow.sif"
    image.touch()
    container = Container(image, (tmp_path,), tmp_path, tmp_path / "cache")
    monkeypatch.setattr(apptainer, "find", lambda: "/usr/bin/apptainer")
    for argv, inside in (
        (("deeptool", "train"), None),
        (("deeptool", "train"), container),
        (("deeptool", "produce"), None),
        (("deeptool-hpc", "broker"), None),
    ):
        folder = tmp_path / "submitit"
        executor = LocalExecutor(folder, installed, inside, forks=tmp_path / "socket")
        monkeypatch.setattr(
            executor._executor, "submit", lambda run, job: jobs.append(job) or Submitted()
        )
        executor.submit(Job("job", argv, tmp_path / "log", tmp_path / "record.json", 1.0))
    assert [job.forks is not None for job in jobs] == [True, False, False, False]
    assert jobs[0].forks is not None
    assert jobs[0].forks.arguments == ("train",)
