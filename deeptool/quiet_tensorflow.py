"""TensorFlow's own start-up lines, kept from the head of every command and log.

TensorFlow's libraries write to the standard error while they are loaded: before absl's logging is
initialized, so that TF_CPP_MIN_LOG_LEVEL does not hold for all of them (TensorFlow 2.21). So the
standard error goes through a filter while ``import tensorflow`` runs. Only commands do this
(`deeptool.errors.run_command`), not programs that import deeptool.

The filter is this file, run as a process of its own: if the import ends the process on the spot (no
AVX on this processor, a damaged library), the filter still shows what was said. It imports nothing
but the standard library.
"""

from __future__ import annotations

import importlib.abc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# What every process that loads TensorFlow says, and what is no fault of it. All else is shown.
_START_UP = re.compile(
    rb"All log messages before absl::InitializeLog\(\) is called"
    rb"|oneDNN custom operations are on"
    rb"|Unable to register cu\w+ factory"
    rb"|computation placer already registered"
    rb"|Could not find cuda drivers on your machine"
    rb"|TF-TRT Warning: Could not find TensorRT"
    rb"|This TensorFlow binary is optimized to use available CPU instructions"
    rb"|To enable the following instructions: .* rebuild TensorFlow"
)
_FILTER_SECONDS = 5.0


def quiet_tensorflow() -> None:
    """From here on the first ``import tensorflow`` of this process, by whomever, is quiet."""
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietFinder())


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow where it is, and has its import run with a filtered standard error."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            # Warnings and errors of the training itself stay.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            with _filtered_stderr():
                load(module)

        # On this one loader: a loader of another class would lack what TensorFlow asks of its own.
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


@contextmanager
def _filtered_stderr() -> Iterator[None]:
    """What is written to file descriptor 2 inside the block goes through the filter."""
    try:
        before = os.dup(2)
    except OSError:
        # There is no standard error: nothing to keep clean.
        yield
        return
    # Python's own text may still be in its buffer, and belongs before what comes now.
    sys.stderr.flush()
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=read,
        stdout=subprocess.DEVNULL,
        stderr=before,
    )
    os.dup2(write, 2)
    os.close(write)
    os.close(read)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        # It ends with the last writer; a process that the import left behind may be one.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_FILTER_SECONDS)


def _filter() -> None:
    """Copy lines from standard input to standard error, but for start-up lines."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # It ends after the process that it serves, whatever ends that one.
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        if not _START_UP.search(line):
            os.write(2, line)


if __name__ == "__main__":
    _filter()
