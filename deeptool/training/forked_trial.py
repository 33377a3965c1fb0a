"""A process that was forked for a trial, made like one that was started for it.

What a fresh process would have of its own is set here: session, output, environment, signals and
random numbers. Where its trial needs another import of TensorFlow or Keras than the parent's, the
process becomes a fresh one, by exec: same id, same log.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from deeptool.files import read_json

# What TensorFlow, Keras and what they load read while they are imported.
_IMPORT_TIME = (
    *("TF_", "TF2_", "KERAS_", "XLA_", "JAX_", "ABSL_", "GRPC_", "PROTOCOL_BUFFERS_", "PYTHON"),
    *("ONEDNN_", "DNNL_", "MKL_", "OMP_", "OPENBLAS_", "NPY_", "NUMPY_", "LD_", "MALLOC_"),
)
_MODULES = (".py", ".so", ".pyc")
# Those whose handlers a process that was started would not have.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


@dataclass(frozen=True)
class ForkRequest:
    """A trial that is to be forked.

    Attributes
    ----------
    argv : tuple of str
        The command line of a fresh process.
    arguments : tuple of str
        Those of ``deeptool``.
    folder : str
        Its working directory.
    env : mapping of str to str
        Its environment, all of it.
    """

    argv: tuple[str, ...]
    arguments: tuple[str, ...]
    folder: str
    env: Mapping[str, str]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ForkRequest:
        """Raises KeyError or TypeError for other values."""
        argv, arguments = tuple(values["argv"]), tuple(values["arguments"])
        return cls(argv, arguments, values["folder"], dict(values["env"]))


def become_trial(request: ForkRequest, changed: Iterable[str], log: int, lifeline: int) -> None:
    """Make this process, just forked with all signals blocked, that of a trial.

    Parameters
    ----------
    request : ForkRequest
        The trial.
    changed : iterable of str
        The names of its environment that differ from the parent's.
    log : int
        File descriptor of its output.
    lifeline : int
        Read end of a pipe. A byte says that the trial is to begin; its end, at any time, that who
        asked for it has gone: the kernel then sends this process a SIGTERM.
    """
    os.setsid()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for name in changed:
        if name in request.env:
            os.environ[name] = request.env[name]
        else:
            os.environ.pop(name, None)
    sys.argv[1:] = request.arguments
    if not os.read(lifeline, 1):
        os._exit(0)
    _end_with(lifeline)
    # Python seeds its own generator after a fork, and TensorFlow has not drawn yet.
    sys.modules["numpy"].random.seed()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if _hidden_modules(request.arguments):
        _become_fresh(request, lifeline)
    _watch_environment(request, lifeline)


def _end_with(lifeline: int) -> None:
    """Have the kernel send this process a SIGTERM when the other end of a pipe is closed.

    PR_SET_PDEATHSIG would tell of the parent's end, but that of the asking process counts.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGTERM)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    watch = select.poll()
    watch.register(lifeline, select.POLLIN)
    # Closed before that: the kernel says nothing any more.
    if watch.poll(0):
        os.kill(os.getpid(), signal.SIGTERM)


def _hidden_modules(arguments: tuple[str, ...]) -> set[str]:
    """Modules beside the settings file that have the name of one that is imported already.

    In a fresh process the settings file would import its own.
    """
    try:
        entries = list(os.scandir(_settings_folder(arguments)))
    except (KeyError, OSError, TypeError, ValueError):
        # The trial itself says what is wrong.
        return set()
    found = {entry.name.partition(".")[0] for entry in entries if entry.name.endswith(_MODULES)}
    found |= {entry.name for entry in entries if Path(entry.path, "__init__.py").exists()}
    return found & set(sys.modules)


def _settings_folder(arguments: tuple[str, ...]) -> Path:
    """Where the settings file of a ``deeptool train`` is."""
    if "--model_dir" in arguments:
        kept = read_json(Path(arguments[arguments.index("--model_dir") + 1], "request.json"))
        return Path((kept or {})["settings"]).parent
    return Path(os.path.abspath(arguments[arguments.index("--usersettings") + 1])).parent


def _watch_environment(request: ForkRequest, lifeline: int) -> None:
    """Become a fresh process where the settings set what is read at an import.

    Until TensorFlow computes: after that, a fresh process would have imported all of it, too.
    """
    from tensorflow.python.eager import context

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("os.putenv", "os.unsetenv"):
            return
        name = os.fsdecode(arguments[0])
        computes = context._context is not None and context._context._initialized
        if name.startswith(_IMPORT_TIME) and not computes:
            _become_fresh(request, lifeline)

    sys.addaudithook(note)


def _become_fresh(request: ForkRequest, lifeline: int) -> NoReturn:
    """Start over in this process, as what the launch would have started."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.set_inheritable(lifeline, True)
    # Python ignores them; what is started finds them as they usually are.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(request.argv[0], request.argv, dict(request.env))
