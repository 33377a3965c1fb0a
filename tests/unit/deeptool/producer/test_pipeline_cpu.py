"""CPU time is charged to the pipeline, and to nobody else's threads.

What is measured is the process's time, so each runs in a process of its own: threads that earlier
tests left behind, of TensorFlow or of a client, would be charged too.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from deeptool import cpu_clock
from deeptool.producer.pipeline_cpu import PipelineCpuMeter


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


def in_thread(seconds: float) -> threading.Thread:
    thread = threading.Thread(target=burn, args=(seconds,))
    thread.start()
    return thread


def in_a_fresh_process(measured: Callable[[], float | None]) -> float | None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(measured).result(timeout=60)


def unknown_threads() -> float | None:
    meter = PipelineCpuMeter()
    with meter.measure():
        in_thread(0.3).join()
    return meter.seconds


def test_threads_that_nobody_knows_are_the_pipelines() -> None:
    assert in_a_fresh_process(unknown_threads) == pytest.approx(0.3, abs=0.06)


def the_calling_thread() -> float | None:
    meter = PipelineCpuMeter()
    with meter.measure():
        burn(0.2)
        with meter.pipeline():
            burn(0.1)
    return meter.seconds


def test_the_calling_thread_is_not_but_within_pipeline() -> None:
    assert in_a_fresh_process(the_calling_thread) == pytest.approx(0.1, abs=0.04)


def a_thread_left_out() -> float | None:
    meter = PipelineCpuMeter()
    done, go = threading.Event(), threading.Event()

    def work() -> None:
        burn(0.3)
        done.set()
        go.wait(10)

    with meter.measure():
        thread = threading.Thread(target=work)
        thread.start()
        meter.leave_out(thread)
        done.wait(10)
        time.sleep(0.05)
    go.set()
    thread.join()
    return meter.seconds


def test_what_is_left_out() -> None:
    assert in_a_fresh_process(a_thread_left_out) == pytest.approx(0.0, abs=0.06)


def before_and_after() -> float | None:
    meter = PipelineCpuMeter()
    in_thread(0.2).join()
    with meter.measure():
        pass
    in_thread(0.2).join()
    return meter.seconds


def test_only_what_happens_while_it_measures() -> None:
    assert in_a_fresh_process(before_and_after) == pytest.approx(0.0, abs=0.04)


def test_a_system_without_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu_clock, "_TASKS", tmp_path / "nowhere")
    meter = PipelineCpuMeter()
    with meter.measure():
        pass
    assert meter.seconds is None
