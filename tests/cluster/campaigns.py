"""Campaigns on the real Slurm of a test machine: how tests launch them and look at them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from image_builds import ROOT

from hpc.slurm import scheduler

SECONDS = 600
SAMPLES = 1797
DIGITS = ROOT / "examples/digits/mysettings_digits.py"
PACED = ROOT / "tests/cluster/paced_settings.py"
SITE = """
backend = "slurm"
[broker]
interface = "lo"
[slurm]
time = "0:30:00"
poll_seconds = 2
"""


class Bench:
    """A campaign file and its run folder, in a folder that all nodes see."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self.run = folder, folder / "run"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "site.toml").write_text(SITE)
        self.file = folder / "campaign.toml"
        self.file.write_text(text)
        self.env = {**os.environ, "DEEPTOOL_SITE": str(folder / "site.toml")}
        self.watching: list[subprocess.Popen[str]] = []

    def argv(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "hpc.cli", *map(str, words)]

    def command(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            cwd=ROOT,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )

    def launch(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        return self.command("launch", self.file, "--run-dir", self.run, *words, **env)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """A launch as a process of its own."""
        process = subprocess.Popen(
            self.argv("launch", self.file, "--run-dir", self.run, *words),
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.watching.append(process)
        return process

    def status(self) -> dict[str, Any]:
        shown = self.command("status", self.run, "--json")
        assert shown.returncode == 0, shown.stdout
        return dict(json.loads(shown.stdout))

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.status()["rows"]}

    def json(self, name: str) -> Any:
        return json.loads((self.run / name).read_text())

    def record(self, task: str) -> dict[str, Any]:
        path = self.run / "jobs" / f"{task}.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def job(self, task: str) -> str:
        return str(self.json("state.json")["tasks"][task]["job"])

    def submitted(self) -> bool:
        """Whether all of the campaign's jobs are in the queue."""
        return (self.run / "state.json").exists() and bool(self.json("state.json").get("submitted"))

    def wait(self, what: str, seen: Callable[[], bool], seconds: float = 200) -> None:
        deadline = time.monotonic() + seconds
        while not seen():
            assert time.monotonic() < deadline, f"{what}\n{self.log()}"
            time.sleep(0.3)

    def log(self) -> str:
        """What the queue, the nodes and the jobs say, for a test that fails."""
        asked = (
            ["squeue", "-o", "%i %j %T %M %R"],
            ["sinfo", "-N", "-p", "main", "-o", "%N %t %E"],
        )
        texts = [subprocess.run(argv, capture_output=True, text=True).stdout for argv in asked]
        for process in self.watching:
            if process.stdout is not None and not process.stdout.closed:
                os.set_blocking(process.stdout.fileno(), False)
                texts.append(f"== launch (exit code {process.poll()})")
                with contextlib.suppress(BlockingIOError):
                    texts.append(os.read(process.stdout.fileno(), 4000).decode())
        texts += [
            f"== {log.name}\n{log.read_text()[-1500:]}" for log in self.run.glob("logs/*.log")
        ]
        return "\n".join(texts)

    def running(self, task: str) -> bool:
        record = self.record(task)
        return "start" in record and "end" not in record and not record.get("waiting")

    def epochs(self, index: int) -> int:
        """How many epochs of a trial have ended."""
        path = self.run / "trials" / str(index) / "history.csv"
        return path.read_text().count("\n") - 1 if path.exists() else 0

    def broker(self, node: int = 0) -> dict[str, Any]:
        path = self.run / "services" / f"broker-{node}.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def live(self) -> list[str]:
        """The ids of this campaign's jobs in the queue."""
        run = self.json("state.json")["id"]
        return [job for job, seen in scheduler.queue().items() if seen.live and run in seen.name]

    def end(self) -> None:
        """Leave nothing behind."""
        for process in self.watching:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        if (self.run / "state.json").exists() and self.live():
            scheduler.cancel(self.live())
            self.wait("its jobs end", lambda: not self.live())

    def workers(self, job: str) -> list[int]:
        """The ids of a job's processes that run a task, without the srun that started them."""
        found, of_job = [], f"SLURM_JOB_ID={job}\0".encode()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                program, *arguments = (path / "cmdline").read_bytes().split(b"\0")
                runs_task = b"submitit.core._submit" in arguments and b"srun" not in program
                if runs_task and of_job in (path / "environ").read_bytes():
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def own_processes(self) -> list[str]:
        """Command lines of this user's processes that belong to the run folder or to brokers."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if path.stat().st_uid != os.getuid():
                    continue
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            marks = (str(self.run), "kafka.Kafka", "QuorumPeerMain", "squashfuse")
            if any(mark in line for mark in marks):
                found.append(line)
        return found


Make = Callable[..., Bench]


def small(trials: str, more: str = "", **hparams: object) -> str:
    """One upload of the paced digits, and trials on it, without images."""
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in hparams.items())
    return f"""
name = "small"
settings = "{PACED}"
hparams = {{ {values} }}
[images]
use = false
[trials]
{trials}
{more}
"""


def wait_for_words(process: subprocess.Popen[str], words: str) -> str:
    """Read what a launch prints up to a line with these words; returns it."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"it ended without {words!r}:\n{seen}")
