"""A process that a server forks where that is possible, instead of being started.

The server, ``deeptool trial_server``, has imported what takes long; the module
``deeptool.training.trial_server`` says what is sent. Whatever goes wrong with it, the process is
started as any other.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deeptool.outcome import OUTCOME_VARIABLE
from deeptool.outcome import read as read_outcome
from hpc.processes.service import Service, child_environment

# Of an answer; the server first imports, which takes a fresh process as long.
_ANSWER_SECONDS = 60.0
_STEP = 0.05
_LARGEST_ANSWER = 4096


@dataclass(frozen=True)
class ForkServer:
    """Where to ask for a fork.

    Attributes
    ----------
    address : Path
        The server's socket.
    arguments : tuple of str
        What the forked process is to run: the words after the program.
    """

    address: Path
    arguments: tuple[str, ...]


class ForkedService(Service):
    """A process that is forked by a server, or started where that cannot be.

    It gets a SIGTERM when the process that asked for it ends, however that ends. It outlives the
    server; then its exit code is the one that it wrote to its outcome file.

    Parameters
    ----------
    name, argv, log
        As of `Service`.
    server : ForkServer
        What is asked first.
    give_up : callable
        Called often while the server has not answered. Once it is true, the process is started.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        server: ForkServer,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name, argv, log)
        self._server, self._give_up = server, give_up
        self._forked: _Forked | None = None

    def start(self) -> None:
        """Have the process forked, or start it.

        Raises
        ------
        WorkError
            When there is no such program, or it cannot be run.
        """
        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            self._forked = _ask(self._server, self.argv, log.fileno(), self._give_up)
        if self._forked is None:
            super().start()

    @property
    def pid(self) -> int | None:
        if self._forked is None:
            return super().pid
        return self._forked.pid if self.poll() is None else None

    @property
    def group(self) -> int:
        return super().group if self._forked is None else self._forked.pid

    def poll(self) -> int | None:
        if self._forked is None:
            return super().poll()
        code = self._forked.poll()
        if code is not None:
            self._ended_cpu_seconds = self._forked.cpu_seconds
        return code

    def _signal(self, signum: int) -> None:
        if self._forked is None:
            super()._signal(signum)
        else:
            self._forked.signal(signum)


class _Forked:
    """A process that the server has forked, and which runs once it is told to.

    Parameters
    ----------
    pid : int
        Its id.
    server : socket.socket
        The connection over which it was asked for.
    lifeline : int
        Write end of the pipe whose end is the process's.

    Raises
    ------
    OSError
        The process has gone already.
    """

    def __init__(self, pid: int, server: socket.socket, lifeline: int) -> None:
        self.pid, self.cpu_seconds = pid, 0.0
        self._server: socket.socket | None = server
        self._lifeline, self._code = lifeline, None  # type: int, int | None
        self._process = psutil.Process(pid)
        self._outcome = os.environ.get(OUTCOME_VARIABLE)
        # Unlike its id, this is never that of another process.
        self._watch = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit code, once it has ended; negative for a signal."""
        if self._code is None and self._server is not None and _readable(self._server.fileno()):
            answer = _received(self._server)
            if answer is None:
                self._server = None
            else:
                self._code, self.cpu_seconds = answer["exit_code"], answer["cpu_seconds"]
        if self._code is None and self._server is None:
            self._look()
        return self._code

    def signal(self, signum: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._watch, signum)

    def _look(self) -> None:
        """See how it is doing, without the server."""
        if _readable(self._watch):
            self._code = self._written_code()
            return
        with suppress(psutil.Error):
            times = self._process.cpu_times()
            self.cpu_seconds = times.user + times.system

    def _written_code(self) -> int:
        """The exit code that the process wrote to its outcome file; else that of a kill."""
        with suppress(OSError, ValueError):
            if self._outcome is not None and (written := read_outcome(self._outcome)) is not None:
                return written.exit_code
        return -signal.SIGKILL


def _ask(
    server: ForkServer, argv: Sequence[str], log: int, give_up: Callable[[], bool]
) -> _Forked | None:
    """The process that the server has forked, which runs; None if there is none, nor will be."""
    own, theirs = os.pipe()[::-1]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(_STEP)
        connection.connect(str(server.address))
        request = {
            "argv": list(argv),
            "arguments": list(server.arguments),
            "folder": os.getcwd(),
            "env": child_environment(os.environ),
        }
        socket.send_fds(connection, [json.dumps(request).encode()], [log, theirs])
        answer = _answer(connection, give_up) or {}
        forked = _Forked(answer["pid"], connection, own)
        # Until now it has waited: without this it ends, and nothing was run.
        os.write(own, b"\n")
        return forked
    except (AttributeError, KeyError, OSError, TypeError, ValueError, psutil.Error):
        connection.close()
        os.close(own)
        return None
    finally:
        os.close(theirs)


def _answer(connection: socket.socket, give_up: Callable[[], bool]) -> dict[str, Any] | None:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while not _readable(connection.fileno(), _STEP):
        if give_up() or time.monotonic() > deadline:
            return None
    return _received(connection)


def _received(connection: socket.socket) -> dict[str, Any] | None:
    """A message of the server's; None where it has ended."""
    try:
        message = connection.recv(_LARGEST_ANSWER)
    except OSError:
        return None
    answer: dict[str, Any] | None = json.loads(message) if message else None
    return answer


def _readable(descriptor: int, seconds: float = 0.0) -> bool:
    watch = select.poll()
    watch.register(descriptor, select.POLLIN)
    return bool(watch.poll(1000 * seconds))
