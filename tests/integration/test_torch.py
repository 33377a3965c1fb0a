"""The PyTorch face on a real broker: workers that connect by themselves, end early, or are killed.

It runs in the environment of `make setup-torch`, which has no TensorFlow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from numpy_upload import upload_numpy
from paths import ROOT

import deeptool
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf

pytest.importorskip("torch", reason="PyTorch has an environment: make test-torch")
data_loading = pytest.importorskip("torch.utils.data", reason="PyTorch: make test-torch")
pytestmark = [pytest.mark.broker, pytest.mark.torch]

ROWS = 1000
SPEC = Spec((Leaf("float32", (None, 16)), Leaf("int64", (None,))))


def numbered(rows: int, first: int = 0) -> list[Any]:
    y = np.arange(first, first + rows)
    x = np.repeat(y[:, None], 16, axis=1).astype(np.float32)
    return [(x[n : n + 32], y[n : n + 32]) for n in range(0, rows, 32)]


def loader(batches: Any, workers: int, **options: Any) -> Any:
    return data_loading.DataLoader(batches, batch_size=None, num_workers=workers, **options)


def numbers(reading: Any) -> list[int]:
    found = []
    for x, y in reading:
        np.testing.assert_array_equal(x[:, 5].numpy(), y.numpy())
        found += y.tolist()
    return found


@pytest.mark.parametrize("shuffle", [False, True])
def test_two_workers_read_every_pass_once(broker: str, session_name: str, shuffle: bool) -> None:
    upload_numpy(broker, session_name, SPEC, numbered(ROWS), numbered(300, 5000))
    data = deeptool.open(broker, session_name)
    batches = data.torch(batch_size=20, shuffle=shuffle, seed=1)
    # A consumer of this process is open while its workers are forked.
    here = iter(batches)
    next(here)
    reading = loader(batches, 2)
    for first, rows in [(5000, 300), (0, ROWS), (5000, 300)]:
        found = numbers(reading)
        assert sorted(found) == list(range(first, first + rows))
        assert (found == sorted(found)) is False
    assert len(numbers(here)) == ROWS - 20
    assert {"tensorflow", "keras"}.isdisjoint(sys.modules)


def test_a_loop_that_ends_early_ends_its_workers(broker: str, session_name: str) -> None:
    upload_numpy(broker, session_name, SPEC, numbered(ROWS))
    reading = loader(deeptool.open(broker, session_name).torch(batch_size=10), 2)
    running = iter(reading)
    next(running)
    workers = running._workers
    del running
    # PyTorch kills those that do not end within 5 s.
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(numbers(reading)) == list(range(ROWS))


KILLED = """
import os, signal, sys, time
from torch.utils.data import DataLoader
import deeptool

batches = deeptool.open(*sys.argv[1:]).torch(batch_size=5, shuffle=True, seed=1)
reading = iter(DataLoader(batches, batch_size=None, num_workers=2))
next(reading)
print("killed", reading._workers[1].pid)
began = time.monotonic()
try:
    os.kill(reading._workers[1].pid, signal.SIGKILL)
    # What it has sent can only be received while it lives: that would be another error.
    reading._workers[1].join()
    for _ in reading:
        pass
except RuntimeError as error:
    print(error)
print("after", time.monotonic() - began)
del reading
found = [n for _, y in DataLoader(batches, batch_size=None, num_workers=2) for n in y.tolist()]
print(len(found), sorted(found) == list(range(1000)))
"""


def test_a_worker_that_is_killed_is_one_clear_error(broker: str, session_name: str) -> None:
    upload_numpy(broker, session_name, SPEC, numbered(ROWS))
    # In a process of its own: PyTorch raises in the main thread, wherever that is.
    done = subprocess.run(
        [sys.executable, "-c", KILLED, broker, session_name],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    killed, error, after, following = done.stdout.splitlines()
    pid = killed.removeprefix("killed ")
    ends = ("is killed by signal: Killed", "exited unexpectedly")
    assert error.startswith(f"DataLoader worker (pid {pid}) {ends[0]}") or (
        error == f"DataLoader worker (pid(s) {pid}) {ends[1]}"
    )
    assert float(after.removeprefix("after ")) < 60
    # The next iteration is a whole pass.
    assert following == f"{ROWS} True"


def test_the_example_learns(broker: str) -> None:
    """Digits as plain_keras.py stores them, but of ten patterns and some noise."""
    rng = np.random.default_rng(0)
    patterns, labels = rng.random((10, 64)), rng.integers(0, 10, 1797)
    images = (patterns[labels] + rng.normal(0, 0.1, (1797, 64))).astype(np.float32)
    batches = [(images[n : n + 32], labels[n : n + 32]) for n in range(0, 1797, 32)]
    spec = Spec((Leaf("float32", (None, 64)), Leaf("int64", (None,))))
    code = (ROOT / "examples/plain_torch.py").read_text()
    name = f"plain_torch-{os.getpid()}-{time.time_ns()}"
    upload_numpy(broker, name, spec, batches)
    done = subprocess.run(
        [sys.executable, "-c", code.replace('"plain_keras"', repr(name)), broker],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = re.fullmatch(r"accuracy on the 1797 samples: (\d\.\d+)\n", done.stdout)
    assert told is not None, done.stdout
    assert float(told[1]) > 0.95


def test_the_page_shows_what_the_example_does() -> None:
    page = (ROOT / "docs/reading.md").read_text()
    shown = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    example = (ROOT / "examples/plain_torch.py").read_text().splitlines()
    shown = [block for block in shown if "data.torch(" in block]
    assert shown
    for block in shown:
        assert [line for line in block.splitlines() if line not in example] == []
