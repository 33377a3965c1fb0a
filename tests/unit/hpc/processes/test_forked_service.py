"""Trials that are forked by a real ``deeptool trial_server``, which has imported TensorFlow."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from paths import HELPERS

from deeptool import outcome
from hpc.local.fork_server import fork_server
from hpc.processes.container import installed
from hpc.processes.forked_service import ForkedService, ForkServer
from hpc.processes.identity import alive, identity, wait_gone

SECONDS = 120
SETTINGS = HELPERS / "trial_settings.py"
PROGRAM = installed("deeptool")
# pytest says there which test runs; the server would have another one than its trials.
UNLIKE = "PYTEST_CURRENT_TEST"


class Server:
    """The server of one test module, or one test."""

    def __init__(self, address: Path) -> None:
        self.address = address

    @property
    def process(self) -> psutil.Process:
        """The server, whatever it has forked."""
        children = psutil.Process().children()
        (found,) = [each for each in children if "trial_server" in each.cmdline()]
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(UNLIKE, raising=False)
        log = tmp_path_factory.mktemp("server") / "log"
        with fork_server(installed, log) as address:
            assert address is not None
            yield Server(address)


class Trials:
    """Starts ``deeptool train`` in a folder, forked or not, and leaves none behind."""

    def __init__(self, folder: Path, address: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._address, self._patch = folder, address, patch
        self._started: list[ForkedService] = []
        patch.setenv("PYTHONUNBUFFERED", "1")

    def start(self, name: str, *words: str, forked: bool = True) -> ForkedService:
        """Start a trial; whether it is forked is for the test to see."""
        self._patch.delenv(UNLIKE, raising=False)
        self._patch.setenv("DEEPTOOL_OUTCOME", str(self.folder / f"{name}.json"))
        arguments = ("train", *words)
        address = self._address if forked else self.folder / "nobody"
        plan = ForkServer(address, arguments)
        service = ForkedService(name, (*PROGRAM, *arguments), self.folder / f"{name}.log", plan)
        service.start()
        self._started.append(service)
        assert service.pid is not None or service.poll() is not None
        return service

    def code(self, name: str, code: str, *words: str, forked: bool = True) -> ForkedService:
        """Start a trial whose settings file is this code."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "settings.py").write_text(code)
        return self.start(
            name,
            *("--usersettings", str(folder / "settings.py"), "--no-kafka"),
            *("--session-dir", str(folder / "session"), *words),
            forked=forked,
        )

    def train(self, name: str, *words: str, forked: bool = True) -> ForkedService:
        """Start a trial that trains."""
        pairs = [word for pair in words for word in ("--hparam", pair)]
        return self.start(
            name,
            *("--usersettings", str(SETTINGS), "--no-kafka"),
            *("--session-dir", str(self.folder / name / "session"), *pairs),
            forked=forked,
        )

    def facts(self, name: str, code: str, **options: Any) -> dict[str, Any]:
        """What a settings file's code leaves as ``facts``."""
        end = "\nprint('facts', json.dumps(facts)); os._exit(0)\n"
        service = self.code(name, f"import json, os\n{code}{end}", **options)
        assert ended(service) == 0, service.output()
        (line,) = [row for row in service.output().splitlines() if row.startswith("facts ")]
        values: dict[str, Any] = json.loads(line.removeprefix("facts "))
        return values

    def end(self) -> None:
        for service in self._started:
            service.kill()


@pytest.fixture
def trials(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trials]:
    made = Trials(tmp_path, server.address, monkeypatch)
    yield made
    made.end()


def wait(condition: Any) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return value


def ended(service: ForkedService) -> int:
    wait(lambda: service.poll() is not None)
    code = service.poll()
    assert code is not None
    return code


def written(trials: Trials, name: str) -> int:
    found = outcome.read(trials.folder / f"{name}.json")
    assert found is not None
    return found.exit_code


FACTS = """
import resource, signal, sys, tensorflow, threading

def target(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}").partition(":[")[0]
    except FileNotFoundError:
        return "the listing itself"

def handler(number):
    found = signal.getsignal(number)
    return getattr(found, "__qualname__", str(found))

def stream(each):
    return [type(each).__name__, each.encoding, each.errors, each.line_buffering,
            each.write_through, each.isatty(), each.fileno()]

facts = {
    "ids": [os.getpid(), os.getppid()],
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "env": dict(os.environ),
    "argv": sys.argv,
    "path": sys.path,
    "flags": str(sys.flags),
    "main": sys.modules["__main__"].__file__,
    "folder": os.getcwd(),
    "handlers": {int(number): handler(number) for number in signal.valid_signals()},
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "files": sorted(map(target, os.listdir("/proc/self/fd"))),
    "streams": [stream(sys.stdout), stream(sys.stderr)],
    "umask": os.umask(0),
    "nice": os.nice(0),
    "limits": [resource.getrlimit(number) for number in range(16)],
    "python_threads": threading.active_count(),
}
"""


def test_a_forked_process_has_what_a_started_one_has(
    trials: Trials, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # These two may differ from the server's.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("DEEPTOOL_OWNER", "somebody")
    forked = trials.facts("a", FACTS)
    fresh = trials.facts("b", FACTS, forked=False)
    assert forked["ids"][1] == server.process.pid
    assert fresh["ids"][1] == os.getpid()
    assert forked["leads"] == [True, True]
    assert forked["env"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert forked["env"]["DEEPTOOL_OWNER"] == "somebody"
    assert forked["files"].count(str(trials.folder / "a.log")) == 2
    # The pipe whose end tells that its job has gone.
    forked["files"].remove("pipe")
    same = json.loads(json.dumps(fresh).replace(f"{trials.folder}/b", f"{trials.folder}/a"))
    del forked["ids"], same["ids"]
    assert forked == same


def test_a_forked_trial_trains_to_the_same_bits(trials: Trials) -> None:
    options = ("dropout=0.3", "averages=True", "epochs=2")
    services = [trials.train("a", *options), trials.train("b", *options, forked=False)]
    for service in services:
        assert ended(service) == 0, service.output()
        assert 0.2 < service.cpu_seconds() < 60
    # The import is most of what a fresh process computes.
    assert services[0].cpu_seconds() < services[1].cpu_seconds()
    histories, variables = [], []
    for name in ("a", "b"):
        session = trials.folder / name / "session"
        with open(session / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["1", "2"]
        histories.append([{**row, "seconds": None} for row in rows])
        with np.load(session / "checkpoints" / "epoch-000002" / "variables.npz") as file:
            variables.append({key: file[key].tobytes() for key in file})
        assert written(trials, name) == 0
    assert histories[0] == histories[1]
    assert variables[0] == variables[1]
    assert len(variables[0]) > 4


def test_what_nobody_seeds_is_random_in_each(trials: Trials) -> None:
    code = """
import random, keras, numpy as np, tensorflow as tf
facts = {"python": random.random(), "numpy": np.random.rand()}
facts |= {"keras": float(keras.random.normal(())), "tensorflow": float(tf.random.normal(()))}
"""
    first, second = trials.facts("a", code), trials.facts("b", code)
    assert first.keys() == second.keys()
    assert not [name for name in first if first[name] == second[name]]


WAIT = "import time; print('there', flush=True); time.sleep(300)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_signals_end_one_and_no_other(trials: Trials, server: Server, number: int) -> None:
    one, other = trials.code("one", WAIT), trials.code("other", WAIT)
    for service in (one, other):
        wait(lambda service=service: "there" in service.output())
    before = server.process.pid
    assert one.pid is not None
    os.kill(one.pid, number)
    if number == signal.SIGKILL:
        assert ended(one) == -signal.SIGKILL
    else:
        # As a fresh process, it unwinds and says so.
        assert ended(one) == 128 + number
        assert written(trials, "one") == 128 + number
    assert one.pid is None
    assert other.poll() is None
    other.stop(30)
    assert ended(other) == 128 + signal.SIGTERM
    assert server.process.pid == before


FAILS = """
class Failing(tf.keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        raise ValueError("no more")

def addon_callbacks(model, train_samples, val_samples):
    return [Failing()]
"""


@pytest.mark.parametrize("expected", [1, 2])
def test_errors_end_it_as_they_end_a_fresh_one(trials: Trials, expected: int) -> None:
    text = SETTINGS.read_text() + FAILS if expected == 1 else "hparams = 3"
    services = []
    for name in ("a", "b"):
        (trials.folder / name).mkdir()
        (trials.folder / name / "trial_model.py").write_text(
            (HELPERS / "trial_model.py").read_text()
        )
        code = f"import os\nprint('parent', os.getppid())\n{text}"
        services.append(trials.code(name, code, forked=name == "a"))
    assert [ended(service) for service in services] == [expected, expected]
    outputs = [service.output().splitlines() for service in services]
    assert outputs[0][0] != outputs[1][0]
    assert outputs[0][1:] == [line.replace("/b/", "/a/") for line in outputs[1][1:]]
    assert ("no more" in services[0].output()) == (expected == 1)
    assert written(trials, "a") == written(trials, "b") == expected


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("import-time-variable", "os.environ['TF_USE_LEGACY_KERAS'] = '0'"),
        ("variable-that-is-taken-out", "os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)"),
    ],
)
def test_settings_that_need_an_import_of_their_own_get_it(
    trials: Trials, name: str, code: str
) -> None:
    text = f"import sys\nprint('begins')\n{code}\nfacts = 'tensorflow' in sys.modules"
    assert trials.facts(name, text) is False
    # It began over, in the same process and log.
    assert (trials.folder / f"{name}.log").read_text().count("begins") == 2


def test_a_module_of_the_users_is_not_hidden_by_an_imported_one(trials: Trials) -> None:
    (trials.folder / "a").mkdir()
    (trials.folder / "a" / "termcolor.py").write_text("mine = 7\n")
    facts = trials.facts("a", "import termcolor\nfacts = termcolor.mine")
    assert facts == 7
    # One that nobody has imported costs nothing.
    (trials.folder / "b").mkdir()
    (trials.folder / "b" / "measured.py").write_text("mine = 8\n")
    text = "import sys, measured\nfacts = [measured.mine, 'tensorflow' in sys.modules]"
    assert trials.facts("b", text) == [8, True]


def test_an_environment_that_may_matter_is_not_forked(
    trials: Trials, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    code = "facts = [os.getppid(), os.environ['XLA_FLAGS']]"
    assert trials.facts("a", code) == [os.getpid(), "--xla_cpu_enable_fast_math=false"]
    monkeypatch.delenv("XLA_FLAGS")
    assert trials.facts("b", "facts = os.getppid()") == server.process.pid
    monkeypatch.chdir(trials.folder)
    assert trials.facts("c", "facts = [os.getppid(), os.getcwd()]") == [
        os.getpid(),
        str(trials.folder),
    ]


JOB = """
import sys
from pathlib import Path
from hpc.processes.forked_service import ForkedService, ForkServer
address, log, *argv = sys.argv[1:]
service = ForkedService("trial", argv, Path(log), ForkServer(Path(address), tuple(argv[1:])))
service.start()
print(service.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["killed", "becomes-fresh"])
def test_it_ends_with_the_process_that_asked_for_it(
    trials: Trials, server: Server, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    settings, log = trials.folder / "settings.py", trials.folder / "log"
    begin = "import os; os.environ['TF_USE_LEGACY_KERAS'] = '0'\n" if how == "becomes-fresh" else ""
    settings.write_text(begin + WAIT)
    monkeypatch.delenv(UNLIKE)
    monkeypatch.setenv("DEEPTOOL_OUTCOME", str(trials.folder / "trial.json"))
    words = ("train", "--usersettings", str(settings), "--no-kafka")
    argv = [sys.executable, "-c", JOB, str(server.address), str(log), *PROGRAM, *words]
    # As Python knows it: what a library puts there behind its back would differ.
    env = dict(os.environ)
    with subprocess.Popen(
        argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None
        trial = identity(int(asking.stdout.readline()))
        assert psutil.Process(int(trial["pid"])).ppid() == server.process.pid
        wait(lambda: "there" in log.read_text())
        asking.kill()
    # Not killed: the kernel has sent it a SIGTERM.
    assert wait_gone([trial], SECONDS)
    assert written(trials, "trial") == 128 + signal.SIGTERM


def test_it_outlives_the_server_which_a_fresh_process_then_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(UNLIKE)
    children = set(psutil.Process().children())
    with fork_server(installed, tmp_path / "server.log") as address:
        assert address is not None
        own = next(each for each in psutil.Process().children() if each not in children)
        trials = Trials(tmp_path, address, monkeypatch)
        code = "import os, time\nwhile not os.path.exists('HOLD'): time.sleep(0.02)\nhparams = 3\n"
        code = code.replace("HOLD", str(tmp_path / "go"))
        one, two = trials.code("one", f"print('there')\n{code}"), trials.code("two", WAIT)
        for service in (one, two):
            wait(lambda service=service: "there" in service.output())
            assert psutil.Process(service.group).ppid() == own.pid
        own.kill()
        wait(lambda: not alive(identity(own.pid)))
        (tmp_path / "go").touch()
        # Its own word for it: nobody is there who could have waited for it.
        assert ended(one) == written(trials, "one") == 2
        assert one.cpu_seconds() >= 0
        assert two.poll() is None
        two.kill()
        assert ended(two) == -signal.SIGKILL
        assert trials.facts("three", "facts = os.getppid()") == os.getpid()
    assert not address.parent.exists()


def test_a_server_ends_with_its_launch_and_leaves_no_file(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from hpc.local.fork_server import fork_server
from hpc.processes.container import installed
with fork_server(installed, Path({str(tmp_path / "log")!r})) as address:
    print(address, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launch:
        assert launch.stdout is not None
        address = Path(launch.stdout.readline().strip())
        assert address.parent.stat().st_mode & 0o777 == 0o700
        (own,) = psutil.Process(launch.pid).children()
        # In the middle of the import.
        wait(lambda: "tensorflow" in Path(f"/proc/{own.pid}/maps").read_text())
        server = identity(own.pid)
        launch.kill()
    assert wait_gone([server], SECONDS)
    assert not address.parent.exists()


class Fake:
    """A server that does as it is told, in a thread of this process: none."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "socket"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(self.address))
        self.listener.listen()


def test_a_server_that_does_not_answer_is_not_waited_for_when_the_end_is_asked_for(
    tmp_path: Path,
) -> None:
    fake = Fake(tmp_path)
    asked: list[bool] = []

    def give_up() -> bool:
        asked.append(True)
        return len(asked) > 3

    plan = ForkServer(fake.address, ("x",))
    service = ForkedService("job", ("sh", "-c", "echo started"), tmp_path / "log", plan, give_up)
    service.start()
    assert ended(service) == 0
    assert service.output() == "started\n"
    assert len(asked) == 4
    # Whatever it does with the request later, it holds a pipe that says not to begin.
    connection, _ = fake.listener.accept()
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    assert json.loads(message)["argv"] == ["sh", "-c", "echo started"]
    assert os.read(descriptors[1], 1) == b""
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize(
    "answer", [b'{"refused": "x"}', b"", b"no JSON", b'{"pid": 99999999}', b'{"pid": "x"}', b"[]"]
)
def test_whatever_a_server_answers_the_process_is_started(tmp_path: Path, answer: bytes) -> None:
    fake = Fake(tmp_path)
    waited: list[socket.socket] = []

    def give_up() -> bool:
        # Called while it waits for the answer: here it comes.
        if not waited:
            waited.append(fake.listener.accept()[0])
            if answer:
                waited[0].send(answer)
            else:
                waited[0].close()
        return False

    plan = ForkServer(fake.address, ("x",))
    service = ForkedService("job", ("sh", "-c", "exit 7"), tmp_path / "log", plan, give_up)
    service.start()
    assert ended(service) == 7
    assert service.cpu_seconds() >= 0


def test_where_no_server_can_be_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = tmp_path / "nothing"
    with fork_server(lambda name: (str(nothing),), tmp_path / "log") as address:
        assert address is None
    with fork_server(installed, nothing / "log") as address:
        assert address is None
    deep = tmp_path / ("a" * 100)
    deep.mkdir()
    for folder in (deep, nothing):
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with fork_server(installed, tmp_path / "log") as address:
            assert address is None
    assert list(deep.iterdir()) == []
