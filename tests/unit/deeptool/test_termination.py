"""A signal that arrives while TensorFlow is at work is not lost, and does no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from deeptool.termination import signals_held

# In a process of its own: without the hold, this one crashes or loses most of its signals.
ITERATED = """
import os, signal, threading, time
import tensorflow as tf
from deeptool.producer.pipeline_cpu import PipelineCpuMeter
from deeptool.producer.pipeline_samples import PipelineSamples

class Interrupted(BaseException):
    pass

raised = caught = 0
# Not outside of the block that catches it: that is no matter of the hold.
armed = False

def handle(number, frame):
    global raised, armed
    if armed:
        armed = False
        raised += 1
        raise Interrupted

dataset = tf.data.Dataset.range(10_000_000).batch(2)
source = PipelineSamples(dataset, batched=True, limit=None, shard=None, meter=PipelineCpuMeter())
signal.signal(signal.SIGTERM, handle)
done = threading.Event()

def send():
    while not done.wait(0.0031):
        os.kill(os.getpid(), signal.SIGTERM)

sender = threading.Thread(target=send)
sender.start()
end = time.monotonic() + 60
while raised < 200 and time.monotonic() < end:
    try:
        armed = True
        source._begin(dataset)
        while raised < 200 and time.monotonic() < end:
            source._advance(0)
        armed = False
    except Interrupted:
        caught += 1
signal.signal(signal.SIGTERM, signal.SIG_IGN)
done.set()
sender.join()
source.close()
print(raised, caught)
"""


def test_none_is_lost_between_two_elements() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ITERATED], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    raised, caught = map(int, ended.stdout.split())
    assert raised >= 100
    assert caught == raised


@pytest.fixture
def seen() -> Iterator[list[int]]:
    """The signals that this process's own handler of SIGTERM was called with."""
    numbers: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    before = signal.signal(signal.SIGTERM, handle)
    yield numbers
    signal.signal(signal.SIGTERM, before)


def test_the_handler_runs_at_the_end_of_the_block(seen: list[int]) -> None:
    with signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == []
    assert seen == [signal.SIGTERM]
    os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM] * 2


def test_an_error_of_the_block_is_the_signals_context() -> None:
    def fail() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("of the pipeline")

    with pytest.raises(KeyboardInterrupt) as interrupted, signals_held():
        fail()
    assert isinstance(interrupted.value.__context__, ValueError)


def test_another_thread_leaves_the_handlers_alone(seen: list[int]) -> None:
    handlers = []

    def look() -> None:
        with signals_held():
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join(10)
    assert handlers == [before]
