"""The parent's side of a worker: starts it, asks, and gives up on one that does not answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any

from bench.rows import WorkerPlan
from deeptool.errors import WorkError

_ROOT = Path(__file__).resolve().parents[1]
_STOP_SECONDS = 30.0


class WorkerFailed(Exception):
    """What a worker answered instead of a result, or that it is gone."""


class WorkerProcess:
    """A process that runs `bench.worker`; what it prints is in `log`."""

    def __init__(self, plan: WorkerPlan, folder: Path) -> None:
        self.plan = plan
        self.log = folder / f"{plan.name.replace(' ', '-').replace(',', '')}.log"
        python = _ROOT / plan.environment / "bin" / "python"
        if not python.exists():
            raise WorkerFailed(f"there is no {plan.environment}: `make setup-bench`")
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONUNBUFFERED": "1",
            # Nothing is fetched from a hub, and caches go with the folder.
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(folder / "hf"),
        }
        self._process = subprocess.Popen(
            [str(python), "-m", "bench.worker"],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )

    def ask(self, do: str, timeout: float = 900.0, **arguments: Any) -> Any:
        """What the worker's method `do` returns.

        Raises
        ------
        WorkerFailed
            It raised an error, ended, or did not answer for `timeout` seconds.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise WorkError("a worker without pipes")
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
        except OSError as error:
            raise WorkerFailed(f"the worker is gone: {self._last_lines()}") from error
        answered = select.poll()
        answered.register(stdout, select.POLLIN)
        if not answered.poll(1000 * timeout):
            self._process.kill()
            raise WorkerFailed(f"no answer in {timeout:.0f} s")
        line = stdout.readline()
        if not line:
            raise WorkerFailed(f"the worker ended: {self._last_lines()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer["answer"]

    def stop(self) -> None:
        """End it, and what it started."""
        try:
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _last_lines(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-3:])
