"""Trials that are really killed, and go on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from paths import HELPERS, ROOT

from deeptool import train

SETTINGS = HELPERS / "trial_settings.py"
HPARAMS = {"epochs": 12, "samples": 2000, "dropout": 0.2, "averages": True, "plateau": True}
ENTRY = [sys.executable, str(ROOT / "experiments_manager.py")]


def run_until(arguments: list[str], session: Path, epoch: int, number: int) -> tuple[int, str]:
    """Run a trial, send a signal once so many epochs are in a checkpoint; exit code and stderr."""
    log = session.with_suffix(".log")
    earlier = set((session / "checkpoints").glob("epoch-*"))
    with open(log, "w") as stderr:
        process = subprocess.Popen([*ENTRY, *arguments], stderr=stderr, cwd=session.parent)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            # Short epochs share a checkpoint: there need not be one of this very epoch.
            found = set((session / "checkpoints").glob("epoch-*")) - earlier
            if any(path.name >= f"epoch-{epoch:06d}" for path in found):
                process.send_signal(number)
                break
            time.sleep(0.01)
        return process.wait(60), log.read_text()
    finally:
        process.kill()
        process.wait(10)


def result(session: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((session / "result.json").read_text())
    return values


def history(session: Path) -> list[dict[str, float]]:
    with open(session / "history.csv", newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


@pytest.mark.soak
def test_a_trial_that_is_terminated_and_killed_ends_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = tmp_path / "killed"
    hparams = [part for key, value in HPARAMS.items() for part in ("--hparam", f"{key}={value}")]
    begin = ["--usersettings", str(SETTINGS), *hparams, "--session-dir", str(session)]
    restart = ["--restart_interrupted", "--model_dir", str(session)]

    code, said = run_until(begin, session, 2, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM, said
    assert result(session)["status"] == "interrupted"
    assert result(session)["epochs_run"] < 12
    progress = json.loads((session / "progress.json").read_text())
    assert progress["state"] == "interrupted"

    code, said = run_until(restart, session, 5, signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    assert "resumes after epoch" in said
    # What the run before it left: a killed process cannot say anything.
    assert result(session)["status"] == "interrupted"

    outcome = subprocess.run(
        [*ENTRY, *restart, "--json"], capture_output=True, text=True, timeout=240, cwd=tmp_path
    )
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout) == result(session)
    assert result(session)["status"] == "complete"
    assert "resumes after epoch" in outcome.stderr
    assert "epoch 1/12" not in outcome.stderr

    whole = train(SETTINGS, hparams=HPARAMS)
    assert [row["epoch"] for row in history(session)] == list(range(1, 13))
    for one, other in zip(history(session), history(whole.session_dir), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert result(session)["best"] == pytest.approx(dict(whole.best), rel=1e-4)

    again = subprocess.run(
        [*ENTRY, *restart], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert again.returncode == 0
    assert "already complete" in again.stderr


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    session = tmp_path / "shared"
    begin = [*ENTRY, "--usersettings", str(SETTINGS), "--session-dir", str(session)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    first = subprocess.Popen(
        [*begin, "--hparam", "epochs=10000"], stderr=subprocess.DEVNULL, env=environment
    )
    try:
        deadline = time.monotonic() + 60
        while not (session / "config.json").exists():
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.05)
        for arguments in (begin, [*ENTRY, "--restart_interrupted", "--model_dir", str(session)]):
            outcome = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
            assert outcome.returncode == 2
            assert "another" in outcome.stderr
        assert not (session / "result.json").exists()
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 128 + signal.SIGINT
        assert result(session)["status"] == "interrupted"
    finally:
        first.kill()
        first.wait(10)
