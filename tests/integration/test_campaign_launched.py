"""Campaigns with the real commands, on a real broker: to the end, and through interruptions."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deeptool.files import read_json

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).parent / "deeptool-hpc"
SECONDS = 240

CAMPAIGN = """
name = "squares"
settings = "campaign_settings.py"
[producers]
partitions = 2
[trials]
max_parallel = 2
grid = {{ learning_rate = [0.05, 0.5] }}
"""


class Bench:
    """A campaign in a folder of its own, and the launches of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "runs" / "squares"
        self.hold = folder / "hold"
        self.hold.mkdir()
        for name in ("campaign_settings.py", "campaign_model.py"):
            (folder / name).write_text((HERE / name).read_text())
        (folder / "squares.toml").write_text(CAMPAIGN.format())
        self.launches: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "TEST_HOLD": str(self.hold), "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(
            [COMMAND, "launch", "squares.toml", *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.launches.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> str:
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == code, output
        return output

    def ask(self, *words: str) -> str:
        result = subprocess.run(
            [COMMAND, *words], cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def wait(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (value := condition()):
            assert self.launches[-1].poll() is None, self.launches[-1].communicate()[0]
            assert time.monotonic() < deadline, "it took too long"
            time.sleep(0.1)
        return value

    def progress(self, place: str) -> dict[str, Any]:
        return read_json(self.run / place / "progress.json") or {}

    def result(self, index: int) -> dict[str, Any]:
        return read_json(self.run / "trials" / str(index) / "result.json") or {}

    def processes(self) -> list[str]:
        """Whatever of this campaign runs, Kafka and ZooKeeper included."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.folder) in " ".join([*process.cmdline(), *process.environ().values()]):
                    found.append(f"{process.pid} {' '.join(process.cmdline())[-100:]}")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        own = f"{os.getpid()} "
        return [each for each in found if not each.startswith(own)]

    def parent(self, index: int) -> psutil.Process:
        """Whose child a trial is."""
        record = read_json(self.run / "jobs" / f"trial-{index}.json")
        found = psutil.Process(record["processes"]["process"]["pid"]).parent()
        assert found is not None
        return found

    def epochs(self, index: int) -> list[int]:
        path = self.run / "trials" / str(index) / "history.csv"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(row["epoch"]) for row in csv.DictReader(lines)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for each in made.processes():
        try:
            os.kill(int(each.split()[0]), signal.SIGKILL)
        except ProcessLookupError:
            continue
    for process in made.launches:
        process.communicate(timeout=60)


def test_interrupted_while_training(bench: Bench) -> None:
    (bench.hold / "trial").touch()
    first = bench.start()
    bench.wait(lambda: bench.epochs(0) == bench.epochs(1) == [1])
    assert "2 running" in bench.ask("status")
    for index in range(2):
        # Neither of them has imported TensorFlow itself.
        assert "trial_server" in bench.parent(index).cmdline()
    first.send_signal(signal.SIGINT)
    # A trial that waits in a callback hears of it there.
    output = bench.finish(first, 130)
    assert "stopping trial-0, trial-1" in output
    assert bench.processes() == []
    assert [bench.result(n)["status"] for n in range(2)] == ["interrupted", "interrupted"]

    (bench.hold / "trial").unlink()
    output = bench.finish(bench.start())
    assert "squares.0.train: is there already" in output
    assert "trial-0 resumes" in output
    assert "everything stopped" in output
    for index, rate in enumerate((0.05, 0.5)):
        result = bench.result(index)
        assert result["status"] == "complete"
        assert result["hparams"]["learning_rate"] == rate
        assert result["data_from"] == "kafka"
        assert result["samples_read"] == 3 * (64 + 16)
        # No epoch was run again, none was left out.
        assert bench.epochs(index) == [1, 2, 3]
    report = (bench.run / "report.html").read_text()
    assert "squares" in report
    assert (bench.run / "report" / "samples_squares.0.train.png").stat().st_size > 1000
    summary = read_json(bench.run / "summary.json")
    assert [(row["topic"], row["samples"]) for row in summary["uploads"]] == [
        ("squares.0.train", 64),
        ("squares.0.val", 16),
    ]
    assert summary["broker"]["cpu_seconds"] > 1
    assert bench.processes() == []

    # A third one finds all of it done.
    output = bench.finish(bench.start("--json"))
    values = json.loads(output[output.index("\n{") :])
    rows = [row for row in values["rows"] if row["role"] == "trial"]
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert values["savings"]["trials_counted"] == 2
    assert "broker" not in output.partition("\n{")[0]


@pytest.mark.soak
def test_killed_while_uploading(bench: Bench) -> None:
    (bench.hold / "upload").touch()
    first = bench.start("--grid", "learning_rate=0.05")
    bench.wait(lambda: bench.progress("producers/0").get("state") == "running")
    first.kill()
    # Every process of it sees that it is no more.
    deadline = time.monotonic() + 60
    while bench.processes():
        assert time.monotonic() < deadline, bench.processes()
        time.sleep(0.2)
    assert json.loads(bench.ask("status", "--json"))["state"] == "killed"

    (bench.hold / "upload").unlink()
    begun = time.monotonic()
    output = bench.finish(bench.start("--grid", "learning_rate=0.05"))
    # The owner is the same: nobody waits for heartbeats of the upload that is dead.
    assert time.monotonic() - begun < 120
    assert "squares.0.train: stored 64 samples" in output
    assert bench.result(0)["status"] == "complete"
    assert bench.result(0)["samples_read"] == 3 * (64 + 16)
    assert bench.processes() == []
