"""Progress on a terminal, in a log, and in a file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from deeptool import progress as module
from deeptool.progress import Progress, shown


def at(samples: int, state: str = "running", total: int | None = 100, epochs: int = 1) -> Progress:
    return Progress(state, 0, epochs, samples, total, samples * 1000, samples / 10)


def test_rates() -> None:
    progress = at(50)
    assert progress.samples_per_second == 10
    assert progress.mb_per_second == pytest.approx(0.01)
    assert Progress("running", 0, 1, 0, None, 0, 0.0).mb_per_second == 0
    assert str(at(50, epochs=2)) == "50 of 100 samples, epoch 1 of 2, 10 samples/s, 0.0 MB/s"
    assert str(at(5000, total=None)) == "5,000 samples, 10 samples/s, 0.0 MB/s"


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    output = io.StringIO()
    with shown("upload", console=Console(file=output)) as listener:
        for samples in range(0, 100):
            listener(at(samples))
            now[0] += 0.1
        listener(at(100, "complete"))
    lines = output.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("upload: 0 of 100 samples")
    assert lines[1].startswith("upload: 50 of 100 samples")
    assert lines[2].startswith("upload: complete: 100 samples")


def test_a_bar_on_a_terminal() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120)
    with shown("upload", console=console) as listener:
        listener(at(25))
        assert "25/100" in output.getvalue()
        listener(at(99, "complete"))
    # The total was a guess, the end is not.
    assert "99/99" in output.getvalue()
    assert "MB/s" in output.getvalue()


def test_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    file = tmp_path / "progress.json"
    with shown("upload", file, Console(file=io.StringIO())) as listener:
        listener(at(10, total=None))
        assert json.loads(file.read_text()) == {
            "state": "running",
            "epoch": 0,
            "epochs": 1,
            "samples": 10,
            "total": None,
            "bytes": 10_000,
            "samples_per_second": 10.0,
            "mb_per_second": 0.01,
        }
        now[0] += 0.5
        listener(at(20))
        assert json.loads(file.read_text())["samples"] == 10
        listener(at(20, "failed"))
        assert json.loads(file.read_text())["state"] == "failed"
