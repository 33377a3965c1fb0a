"""Whether a process' children could use TensorFlow, as its threads tell."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import ctypes, json, os, threading
from deeptool.pipelines.probe_process import can_fork

answers = {"after the import": can_fork()}
libc = ctypes.CDLL(None)
for number in range(6):
    # As OpenBLAS has them on a machine with four cores.
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.pause, None)
answers["more threads"] = can_fork()
cores = os.sched_getaffinity
os.sched_getaffinity = lambda pid: range(6)
answers["more threads, more cores"] = can_fork()
stop = threading.Event()
other = threading.Thread(target=stop.wait)
other.start()
answers["a thread of Python's"] = can_fork()
stop.set()
other.join()
os.sched_getaffinity = lambda pid: range(64)
import tensorflow as tf
tf.constant(1)
answers["after an operation"] = can_fork()
print(json.dumps(answers))
os._exit(0)
"""


def test_threads_of_a_linear_algebra_library_hinder_no_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout or "null") == {
        "after the import": True,
        "more threads": False,
        "more threads, more cores": True,
        "a thread of Python's": False,
        "after an operation": False,
    }, done.stderr
