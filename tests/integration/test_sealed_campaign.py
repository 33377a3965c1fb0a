"""A campaign of a sealed dataset, with the real commands: no broker, no producers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deeptool.files import read_json

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent

CAMPAIGN = """
name = "squares"
settings = "campaign_settings.py"
[data]
sealed = "digits"
[trials]
grid = { learning_rate = [0.05, 0.5] }
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
    planned = folder.launch("--dry-run")
    assert f"on the sealed dataset in {tmp_path / 'digits'}" in planned
    assert "broker up" not in planned
    rendered = folder.run(
        "deeptool-hpc",
        "render",
        "squares.toml",
        "--backend",
        "slurm",
        "--set",
        "slurm.time=1:00:00",
    )
    assert f"--from {tmp_path / 'digits'}" in rendered
    assert "broker" not in rendered

    output = folder.launch()
    for index in range(2):
        assert folder.result(index)["status"] == "complete"
        assert folder.result(index)["data_from"] == "sealed"
    assert "sealed in" in output or (tmp_path / "runs/squares/report.html").exists()
    summary = read_json(tmp_path / "runs/squares/summary.json")
    assert summary["broker"]["mode"] == "sealed"
    assert [row["samples"] for row in summary["uploads"]] == [64, 16]
    report = tmp_path / "runs/squares/report"
    assert (report / f"samples_{session_name}.0.train.png").stat().st_size > 1000

    # Nothing is left to do; with another sealed dataset there, both trials are outdated.
    started = [folder.result(index)["started"] for index in range(2)]
    folder.launch()
    assert [folder.result(index)["started"] for index in range(2)] == started
    folder.seal("--replace", "--hparam", "scale=2.0")
    message = folder.launch(code=2)
    assert "the sealed dataset is not what the trials are to read" in message
    assert "scale" in message
    output = folder.launch("--set", "hparams.scale=2.0")
    assert [folder.result(index)["hparams"]["scale"] for index in (2, 3)] == [2.0, 2.0]
    # The same hparams, but other samples, as the user wishes.
    folder.seal("--replace", "--hparam", "scale=2.0", "--limit", "32")
    output = folder.launch("--set", "hparams.scale=2.0", "--set", 'producers.reuse="always"')
    assert "another sealed dataset" in output
    assert folder.result(4)["samples_read"] == 3 * (32 + 16)
    assert json.loads(folder.run("deeptool-hpc", "status", "--json"))["state"] == "complete"
