"""Locks in forked processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading

from deeptool.fork_lock import ForkLock


def test_a_lock_that_another_thread_holds_is_free_in_a_fork() -> None:
    lock, held, done = ForkLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)

    def take() -> None:
        with lock:
            pass

    child = multiprocessing.get_context("fork").Process(target=take)
    child.start()
    child.join(20)
    stuck = child.is_alive()
    child.kill()
    done.set()
    thread.join()
    assert not stuck
    with lock:
        assert lock._lock.locked()


# In a process of its own: where TensorFlow ran, its threads hold locks that are not ours.
COUNTED = """
import multiprocessing
import threading

from deeptool.store.read_meter import ReadMeter

meter, stop = ReadMeter(), threading.Event()

def count():
    while not stop.is_set():
        meter.count(samples=1)

thread = threading.Thread(target=count)
thread.start()
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=meter.count, kwargs={"samples": 1}) for _ in range(30)]
for child in children:
    child.start()
for child in children:
    child.join(20)
stuck = [child.pid for child in children if child.is_alive()]
for child in children:
    child.kill()
stop.set()
thread.join()
print("stuck:", stuck)
"""


def test_a_meter_counts_in_a_fork_that_was_made_while_it_counted() -> None:
    done = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True)
    assert done.stdout == "stuck: []\n", done.stderr
