"""The CPU time of single threads, by both of the kernel's files."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from deeptool import cpu_clock


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


@pytest.mark.skipif(not cpu_clock.tells_threads_apart(), reason="needs /proc")
def test_a_thread_s_own_time() -> None:
    burnt, go = threading.Event(), threading.Event()

    def work() -> None:
        burn(0.2)
        burnt.set()
        go.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert burnt.wait(30)
        assert thread.native_id is not None
        assert cpu_clock.thread_seconds(thread.native_id) == pytest.approx(0.2, abs=0.05)
        assert thread.native_id not in cpu_clock.librdkafka_threads()
    finally:
        go.set()
        thread.join()


def fake(tasks: Path, name: str, schedstat: str | None, comm: str = "python") -> None:
    (tasks / name).mkdir()
    (tasks / name / "comm").write_text(f"{comm}\n")
    ticks = 3 * os.sysconf("SC_CLK_TCK")
    # The name may hold anything, parentheses and spaces too.
    (tasks / name / "stat").write_text(f"{name} (a) b) S {'0 ' * 10}{ticks} {ticks} 0 0\n")
    if schedstat is not None:
        (tasks / name / "schedstat").write_text(schedstat)


def test_kernels_with_and_without_scheduler_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_clock, "_TASKS", tmp_path)
    fake(tmp_path, "1", "2500000000 7 9")
    fake(tmp_path, "2", "0 0 0", comm="rdk:main")
    fake(tmp_path, "3", None, comm="rdk:broker1")
    assert [cpu_clock.thread_seconds(number) for number in (1, 2, 3, 4)] == [2.5, 6.0, 6.0, None]
    assert cpu_clock.librdkafka_threads() == {2, 3}
    monkeypatch.setattr(cpu_clock, "_TASKS", tmp_path / "nowhere")
    assert cpu_clock.librdkafka_threads() == set()
    assert cpu_clock.thread_seconds(1) is None
