"""What `deeptool init` writes runs, and its launch ends with the best trial."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.broker

BIN = Path(sys.executable).parent


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [BIN / words[0], *words[1:]], cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.timeout(900)
def test_the_starter_runs(tmp_path: Path) -> None:
    run(tmp_path, "deeptool", "init")
    done = run(tmp_path, "deeptool-hpc", "launch", "campaign.toml", "--grid", "units=64")
    *_, best, model, again = done.stdout.splitlines()
    assert best.startswith("best trial: ")
    assert "val_accuracy 0.9" in best or "val_accuracy 1" in best
    assert Path(model.removeprefix("  its model: ")).exists()
    # Each command that is printed runs.
    words = shlex.split(again.removeprefix("  train it again: "))
    run(tmp_path, *words, "--session-dir", "again")
    assert (tmp_path / "again" / "result.json").exists()
