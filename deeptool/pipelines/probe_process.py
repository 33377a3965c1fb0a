"""Run a pipeline's probe in a process of its own, forked where that is possible.

A process that has imported TensorFlow and Keras, and has not run any operation yet, can be forked:
the child probes at once. After the first operation TensorFlow has threads, which a child lacks, and
would hang; then a fresh interpreter is started, which takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deeptool.errors import DeeptoolError, UserError, WorkError
from deeptool.files import read_json, write_json
from deeptool.pipelines.pipeline_probe import ProbeReport, ProbeRequest, probe_pipeline

# OpenBLAS starts no more.
_MOST_CORES = 64
# Loading settings may read large files; a pipeline that holds Python itself cannot end in time.
_LOADING_SECONDS = 300.0
_NICE = 10


class ProbeProcess:
    """One probe, which begins when it is told to.

    Made before this process runs any operation, it can be told to begin long after.

    Parameters
    ----------
    request : ProbeRequest
    hash_seed : int, optional
        Start a fresh interpreter with this PYTHONHASHSEED, rather than forking this process.
    """

    def __init__(self, request: ProbeRequest, *, hash_seed: int | None = None) -> None:
        self._request, self._hash_seed = request, hash_seed
        self._folder = tempfile.TemporaryDirectory(prefix="deeptool-probe-")
        self._answer = Path(self._folder.name, "answer.json")
        self._child: int | None = None
        self._begin: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._status: int | None = None
        if hash_seed is None and can_fork():
            self._child, self._begin = self._fork()

    def result(self, seconds: float | None = None) -> ProbeReport:
        """Begin, and wait for it.

        Parameters
        ----------
        seconds : float, optional
            Instead of the request's, for reading samples.

        Raises
        ------
        UserError
            The settings cannot be loaded.
        WorkError
            The process ended without a result, or did not end in time.
        """
        seconds = self._request.seconds if seconds is None else seconds
        deadline = time.monotonic() + seconds + _LOADING_SECONDS
        try:
            if self._begin is not None:
                os.write(self._begin, f"{seconds}\n".encode())
            else:
                self._process = self._start(replace(self._request, seconds=seconds))
            while self._runs():
                if time.monotonic() > deadline:
                    raise WorkError(
                        "the probe of the pipeline did not end", seen=f"{_LOADING_SECONDS:.0f} s"
                    )
                time.sleep(0.01)
            answer = read_json(self._answer)
        finally:
            self.close()
        if answer is None:
            raise WorkError(
                "the probe of the pipeline ended without a result", seen=_ending(self._status)
            )
        if "error" in answer:
            kind = UserError if answer["error"].pop("exit_code") == 2 else WorkError
            raise kind(answer["error"].pop("what"), **answer["error"])
        return ProbeReport.from_json(answer)

    def close(self) -> None:
        """End it, if it has not ended, and forget what it found."""
        if self._child is not None:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._child, signal.SIGKILL)
                os.waitpid(self._child, 0)
            self._child = None
        if self._begin is not None:
            os.close(self._begin)
            self._begin = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._folder.cleanup()

    def _runs(self) -> bool:
        if self._process is not None:
            self._status = self._process.poll()
            return self._status is None
        if self._child is None:
            return False
        ended, status = os.waitpid(self._child, os.WNOHANG)
        if ended:
            self._child, self._status = None, os.waitstatus_to_exitcode(status)
        return not ended

    def _fork(self) -> tuple[int, int]:
        sys.stdout.flush()
        sys.stderr.flush()
        told, begin = os.pipe()
        child = os.fork()
        if child == 0:
            # Nothing of the parent's is unwound here, whatever happens.
            try:
                os.close(begin)
                _be_a_child()
                # Nothing, where the parent has ended.
                if line := os.read(told, 100):
                    request = replace(self._request, seconds=float(line))
                    _answer_request(request, self._answer)
            finally:
                os._exit(0)
        os.close(told)
        return child, begin

    def _start(self, request: ProbeRequest) -> subprocess.Popen[bytes]:
        asked = Path(self._folder.name, "request.json")
        write_json(asked, asdict(request))
        return subprocess.Popen(
            [sys.executable, "-m", "deeptool.pipelines.probe_process", asked, self._answer],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": str(self._hash_seed or 0)},
            # Ctrl-C is for the command, which ends it.
            start_new_session=True,
        )


def _ending(status: int | None) -> str:
    """Of a process, by its exit code: negative for a signal."""
    if status is None or status >= 0:
        return f"exit code {status}"
    return f"signal {signal.Signals(-status).name}"


def can_fork() -> bool:
    """Whether a child of this process could use TensorFlow.

    Imports TensorFlow and Keras, where that has not been done.
    """
    import keras  # noqa: F401
    from tensorflow.python.eager import context

    if threading.active_count() > 1:
        return False
    if context._context is not None and context._context._initialized:
        return False
    try:
        return len(os.listdir("/proc/self/task")) <= _idle_threads()
    except OSError:
        return False


def _idle_threads() -> int:
    """Those of a process that has TensorFlow and Keras, and nothing done with them.

    Its own one, the allocator's, and those of OpenBLAS, which is there twice: NumPy's and SciPy's.
    They are no hindrance: OpenBLAS starts them again in a child.
    """
    cores = min(len(os.sched_getaffinity(0)), _MOST_CORES)
    return 2 + 2 * max(1, cores - 1)


def _be_a_child() -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # What the user's code says, the command itself says as well.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def _answer_request(request: ProbeRequest, answer: Path) -> None:
    """Probe, write the result, and end this process."""
    os.nice(_NICE)
    # Whatever becomes of the process that waits for it: it does not stay behind.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(request.seconds + _LOADING_SECONDS))

    def write(value: dict[str, Any]) -> None:
        write_json(answer, value)
        os._exit(0)

    try:
        probe_pipeline(request, lambda report: write(report.to_json()))
    except DeeptoolError as error:
        write({"error": {"exit_code": error.exit_code, **error.details}})
    except Exception as error:
        what = f"the probe of the pipeline failed: {type(error).__name__}: {error}"
        write({"error": {"exit_code": WorkError.exit_code, "what": what}})


if __name__ == "__main__":
    _answer_request(
        ProbeRequest(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), Path(sys.argv[2])
    )
