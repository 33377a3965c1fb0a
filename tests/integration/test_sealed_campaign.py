"""A campaign of a sealed dataset, with the real commands: no broker, no producers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deeptool.files import read_json

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent

CAMPAIGN = """
name = "squares"
settings = "campaign_settings.py"
[data]
sealed = "digits"
[trials]
grid = { learning_rate = [0.05] }
"""


class Folder:
    """A campaign in a folder of its own."""

    def __init__(self, path: Path, broker: str, name: str) -> None:
        self.path, self.broker, self.name = path, broker, name
        (path / "hold").mkdir()
        for file in ("campaign_settings.py", "campaign_model.py"):
            text = (HERE / file).read_text().replace('"squares"', repr(name))
            (path / file).write_text(text)
        (path / "squares.toml").write_text(CAMPAIGN)

    def run(self, *words: str, code: int = 0) -> str:
        environment = {**os.environ, "TEST_HOLD": str(self.path / "hold")}
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "DEEPTOOL_PROBE_SECONDS": "0"}
        done = subprocess.run(
            [PROGRAMS / words[0], *words[1:]],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def seal(self, *more: str) -> None:
        settings = ("--usersettings", "campaign_settings.py", "--server", self.broker)
        self.run("deeptool", "produce", *settings, "--split", "both", *more)
        seal = ("deeptool", "seal", self.name, "--to", "digits", "--server", self.broker)
        self.run(*seal, "--replace")

    def launch(self, *more: str, code: int = 0) -> str:
        return self.run("deeptool-hpc", "launch", "squares.toml", *more, code=code)

    def result(self, index: int) -> dict[str, Any]:
        return read_json(self.path / "runs/squares/trials" / str(index) / "result.json") or {}


def test_a_campaign_of_a_sealed_dataset(broker: str, session_name: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path, broker, session_name)
    folder.seal()
    slurm = ("--backend", "slurm", "--set", "slurm.time=1:00:00")
    rendered = folder.run("deeptool-hpc", "render", "squares.toml", *slurm)
    assert f"--from {tmp_path / 'digits'}" in rendered
    assert "broker" not in rendered

    folder.launch()
    result = folder.result(0)
    assert (result["status"], result["data_from"]) == ("complete", "sealed")
    assert result["samples_read"] == 3 * (64 + 16)
    summary = read_json(tmp_path / "runs/squares/summary.json")
    assert summary["broker"]["mode"] == "sealed"
    assert [row["samples"] for row in summary["uploads"]] == [64, 16]
    report = tmp_path / "runs/squares/report"
    assert (report / f"samples_{session_name}.0.train.png").stat().st_size > 1000

    # What it does not hold, nobody uploads to it.
    message = folder.launch("--dry-run", "--set", "hparams.scale=2.0", code=2)
    assert "the sealed dataset is not what the trials are to read" in message
    assert "scale = 1.0 stored, 2.0 now" in message
