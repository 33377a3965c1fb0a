"""Forks processes for trials, after importing TensorFlow and Keras once.

A launch on one machine asks for them. The import takes most of the time in which a trial starts.
A process that has only imported TensorFlow can be forked; after the first operation it has threads,
which a child lacks, and would hang. So this one computes nothing: settings are loaded by the child.

Who asks connects to a Unix socket (SOCK_SEQPACKET) for each trial, and sends one message: a
`ForkRequest` as JSON, with two file descriptors, that of the log and the read end of a pipe (see
`become_trial`). The answer is one message, ``{"refused": reason}`` or ``{"pid": number}``, and in
the latter case a second one when the process has ended: ``{"exit_code", "cpu_seconds"}``, where a
signal's number is negative.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.termination import SIGNALS
from deeptool.training.forked_trial import ForkRequest, become_trial

# Nothing of it depends on the settings, or has an effect besides.
_IMPORTED = (
    *("tensorflow", "keras", "confluent_kafka", "pyarrow"),
    *(f"deeptool.training.{name}" for name in ("fitting", "fixed_batch", "kafka_data", "model")),
    *("deeptool.commands.train", "deeptool.training.rehearsal", "deeptool.store.read_shutdown"),
)
# What a trial may have of its own: all else of its environment may have mattered to an import.
_OWN_VARIABLES = ("DEEPTOOL_", "CUDA_VISIBLE_DEVICES")
_LARGEST_REQUEST = 1 << 20
_REQUEST_SECONDS = 5.0
_TRIED_SECONDS = 60.0


@dataclass(frozen=True)
class _Forked:
    """A process that was forked; `connection` is to whoever asked for it."""

    pid: int
    watch: int
    connection: socket.socket


class TrialServer:
    """Imports what trials need, and forks on request.

    Parameters
    ----------
    listener : socket.socket
        A listening socket.
    say : callable
        Called with why a process was not forked.

    Raises
    ------
    WorkError
        When children of this process could not use TensorFlow.
    """

    def __init__(self, listener: socket.socket, say: Callable[[str], None]) -> None:
        self._listener, self._say = listener, say
        self._env, self._folder = dict(os.environ), os.getcwd()
        for name in _IMPORTED:
            importlib.import_module(name)
        _check_idle()
        # Collections in the children would touch, and so copy, all of it.
        gc.freeze()
        _try_fork()
        self._idle = _threads()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._forked: dict[int, _Forked] = {}

    def serve(self) -> tuple[str, ...]:
        """Fork as requested, for ever.

        Returns
        -------
        tuple of str
            In a forked process only: the arguments of its ``deeptool``.
        """
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._ended(key.data)
                elif (arguments := self._answer()) is not None:
                    return arguments

    def _answer(self) -> tuple[str, ...] | None:
        """Answer one request; the arguments, in the forked process."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return None
        received: list[int] = []
        try:
            connection.settimeout(_REQUEST_SECONDS)
            message, received, _, _ = socket.recv_fds(
                connection, _LARGEST_REQUEST, 2, socket.MSG_CMSG_CLOEXEC
            )
            request = ForkRequest.from_json(json.loads(message))
            changed = self._checked(request)
            log, lifeline = received
            pid = self._fork(connection)
        except (OSError, KeyError, TypeError, ValueError, WorkError) as error:
            self._say(f"not forked: {error}")
            _send(connection, {"refused": str(error)})
            connection.close()
            pid = -1
        if pid == 0:
            become_trial(request, changed, log, lifeline)
            return request.arguments
        for descriptor in received:
            os.close(descriptor)
        return None

    def _checked(self, request: ForkRequest) -> set[str]:
        """The names of its environment that differ from this process's.

        Raises
        ------
        WorkError
            A child of this process would not be what is asked for.
        """
        names = self._env.keys() | request.env.keys()
        changed = {name for name in names if self._env.get(name) != request.env.get(name)}
        others = sorted(name for name in changed if not name.startswith(_OWN_VARIABLES))
        if others:
            raise WorkError("its environment differs from the server's", seen=", ".join(others))
        if request.folder != self._folder:
            raise WorkError("its working directory is another one", seen=request.folder)
        if _threads() != self._idle:
            raise WorkError("the server has more threads than after the import", seen=_threads())
        return changed

    def _fork(self, connection: socket.socket) -> int:
        """The id of the process; 0 in itself, where all signals are blocked still."""
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            try:
                self._close()
                connection.close()
            except BaseException:
                # Not to be handled as an error of the server's.
                os._exit(1)
            return 0
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        forked = _Forked(pid, os.pidfd_open(pid), connection)
        _send(connection, {"pid": pid})
        self._forked[pid] = forked
        self._selector.register(forked.watch, selectors.EVENT_READ, forked)
        return pid

    def _ended(self, forked: _Forked) -> None:
        """Tell who asked for a process that it has ended."""
        self._selector.unregister(forked.watch)
        os.close(forked.watch)
        del self._forked[forked.pid]
        _, status, usage = os.wait4(forked.pid, 0)
        cpu_seconds = usage.ru_utime + usage.ru_stime
        code = os.waitstatus_to_exitcode(status)
        _send(forked.connection, {"exit_code": code, "cpu_seconds": cpu_seconds})
        forked.connection.close()

    def _close(self) -> None:
        """Close what a forked process has no use for."""
        self._selector.close()
        self._listener.close()
        for forked in self._forked.values():
            os.close(forked.watch)
            forked.connection.close()


@contextlib.contextmanager
def inherited(descriptor: int) -> Iterator[socket.socket]:
    """The listening socket that this process has inherited; its file goes with the process.

    Raises
    ------
    UserError
        It is none.
    """
    try:
        listener = socket.socket(fileno=descriptor)
        address = Path(listener.getsockname())
    except (OSError, TypeError) as error:
        raise UserError("this is no Unix socket", seen=f"file descriptor {descriptor}") from error
    owner = os.getpid()
    try:
        yield listener
    finally:
        # Not at the end of a forked process.
        if os.getpid() == owner:
            with contextlib.suppress(OSError):
                address.unlink()
                address.parent.rmdir()


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send, whether or not somebody still listens."""
    with contextlib.suppress(OSError):
        connection.send(json.dumps(message).encode())


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _check_idle() -> None:
    """See that nothing was computed yet, on a CPU or a GPU."""
    import keras
    from tensorflow.python.eager import context

    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        raise WorkError("this system has no pidfd_open", seen=str(error)) from error
    if keras.backend.backend() != "tensorflow":
        raise WorkError("Keras computes with another library", seen=keras.backend.backend())
    if context._context is not None and context._context._initialized:
        raise WorkError("TensorFlow has computed already, while it was imported")
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("/dev/nvidia"):
                raise WorkError("the import has opened a GPU, which a child could not use")


def _try_fork() -> None:
    """See that a child can compute: with another TensorFlow, or a plugin of it, it might hang."""
    child = os.fork()
    if child == 0:
        # Nothing of the parent's is unwound here, whatever happens.
        try:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # Whatever becomes of the process that waits for it.
            signal.alarm(int(2 * _TRIED_SECONDS))
            os._exit(0 if _computes() else 1)
        finally:
            os._exit(1)
    deadline = time.monotonic() + _TRIED_SECONDS
    try:
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                raise WorkError("a forked process hangs", seen=f"{_TRIED_SECONDS:.0f} s")
            time.sleep(0.01)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if ended[1]:
        raise WorkError("a forked process cannot compute")


def _computes() -> bool:
    """Run a small pipeline, which uses TensorFlow's threads."""
    import tensorflow as tf

    # A GPU may be somebody's.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    numbers = tf.data.Dataset.range(4).map(lambda n: 2 * n, num_parallel_calls=2).prefetch(1)
    return sum(int(number) for number in numbers) == 12
