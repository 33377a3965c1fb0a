"""One server as a child process: start, poll, the end of its log, stop, and what it cost."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from deeptool.errors import WorkError

# Settings for other programs' JVMs. No batch system and none of Kafka's own tools needs these.
_NOT_FOR_CHILDREN = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
_PR_SET_PDEATHSIG = 1
# Runs its arguments, hands SIGTERM on, kills them on SIGUSR1, and ends as they do. A program
# in an image is killed with its starter's other child, which serves the image's file system.
GUARD = (
    """trap '[ "$!" ] || exit 143; kill -TERM $!' TERM; """
    """trap '[ "$!" ] && kill -KILL $! $(cat /proc/$!/task/*/children); exit 137' USR1; """
    """"$@" & while :; do wait $!; code=$?; kill -0 $! 2>/dev/null || exit $code; done"""
)
_LIBC = ctypes.CDLL(None, use_errno=True)


def guarded(argv: Sequence[str]) -> tuple[str, ...]:
    """The command line that runs `argv` under the guard."""
    return ("/bin/sh", "-c", GUARD, "sh", *argv)


class Service:
    """A foreground server process, in a session of its own so that no terminal signals it.

    It is signalled when the thread that started it ends, however that ends: start it from the main
    thread.

    Parameters
    ----------
    name : str
        What it is called in messages.
    argv : sequence of str
        Its command line.
    log : Path
        The file its output is appended to.
    guard : bool
        Whether a shell keeps watch over the program: for one that the kernel would not signal,
        as Apptainer, which changes its credentials.
    orphaned : int
        The signal that tells it that the thread which started it has ended: SIGTERM or SIGKILL.
    env : mapping, optional
        What its environment has besides this process's.
    inherited : sequence of int
        File descriptors that it gets.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        guard: bool = False,
        orphaned: int = signal.SIGTERM,
        env: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        self.name, self.log = name, log
        self.argv = guarded(argv) if guard else tuple(argv)
        self._env, self._inherited = dict(env or {}), tuple(inherited)
        self._orphaned = signal.SIGUSR1 if guard and orphaned == signal.SIGKILL else orphaned
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._ended_cpu_seconds = 0.0

    def start(self) -> None:
        """Start the process.

        Raises
        ------
        WorkError
            When there is no such program, or it cannot be run.
        """
        parent, orphaned = os.getpid(), self._orphaned

        def in_child() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, orphaned)
            if os.getppid() != parent:
                os._exit(1)

        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=in_child,
                    env=child_environment({**os.environ, **self._env}),
                    pass_fds=self._inherited,
                )
            except OSError as error:
                raise WorkError(f"{self.name} could not be started", seen=str(error)) from error

    @property
    def pid(self) -> int | None:
        """The id of the running process, None where there is none."""
        return self._process.pid if self._process and self.poll() is None else None

    @property
    def group(self) -> int:
        """The id of the process group that it leads, or has led.

        Raises
        ------
        WorkError
            When it was not started.
        """
        if self._process is None:
            raise WorkError(f"{self.name} was not started")
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code (negative: a signal's number) once it has ended, else None."""
        process = self._process
        if process is None:
            return None
        if process.returncode is None:
            # wait4, where Popen.poll has waitpid: it also says what the process cost.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                self._ended_cpu_seconds += usage.ru_utime + usage.ru_stime
        return process.returncode

    def check(self) -> None:
        """Raise `WorkError` with the end of the log if the process has ended."""
        code = self.poll()
        if code is not None:
            how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
            raise WorkError(
                f"{self.name} has ended ({how})", seen=self.failure(), next_step=f"see {self.log}"
            )

    def run(self, timeout: float) -> None:
        """Start the process and wait for it to do its work.

        Raises
        ------
        WorkError
            When it fails, or takes more than `timeout` seconds.
        """
        self.start()
        self._wait(timeout)
        if self.poll() is None:
            self.kill()
        if self.poll() != 0:
            self.check()

    def stop(self, timeout: float) -> None:
        """Ask the process to end, wait up to `timeout` seconds, then kill it."""
        self._signal(signal.SIGTERM)
        self._wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End the process at once, and its children."""
        # All: Apptainer, killed alone, would leave the process that serves its image's file system.
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._wait(10)

    def cpu_seconds(self) -> float:
        """CPU seconds (user and system) of this process and of those it was before a restart."""
        return self._ended_cpu_seconds + sum(map(_cpu_seconds, self._family()))

    def output(self) -> str:
        """What this run of the process has written to its log (its last megabyte)."""
        with open(self.log, "rb") as log:
            log.seek(max(self._log_start, os.path.getsize(self.log) - (1 << 20)))
            return log.read().decode(errors="replace")

    def failure(self) -> str:
        """The lines of its log that say why it ended: its last errors, or its last lines."""
        lines = self.output().splitlines()
        errors = [line for line in lines if " ERROR " in line or " FATAL " in line]
        causes = [line for line in lines if line.startswith("Caused by: ")]
        return "\n    ".join(["", *(dict.fromkeys(errors[-3:] + causes[-3:]) or lines[-10:])])

    def _signal(self, signum: int) -> None:
        if self._process is not None and self.poll() is None:
            os.kill(self._process.pid, signum)

    def _family(self) -> list[psutil.Process]:
        """The process, while it runs, and its descendants: a container's processes are those."""
        pid = self.pid
        if pid is not None:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                return [process, *process.children(recursive=True)]
        return []

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what is not for the programs that are started here."""
    return {key: value for key, value in environment.items() if key not in _NOT_FOR_CHILDREN}
