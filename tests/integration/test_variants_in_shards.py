"""Variants that several processes upload each, and the trials that read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import deeptool
from deeptool.files import read_json

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).parent / "deeptool-hpc"
CAMPAIGN = """
name = "squares"
settings = "campaign_settings.py"
[broker]
bootstrap_servers = ["{broker}"]
[producers]
num_procs = 2
auto_shard = true
partitions = 1
variants = [
    {{ procID = 0, hparams = {{ scale = 1.0 }} }},
    {{ procID = 5, hparams = {{ scale = 2.0 }} }},
]
[trials]
list = [ {{ scale = 2.0 }}, {{ scale = 1.0 }} ]
"""


def launched(folder: Path) -> str:
    done = subprocess.run(
        [COMMAND, "launch", "squares.toml"],
        cwd=folder,
        env={**os.environ, "TEST_HOLD": str(folder), "DEEPTOOL_PROBE_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_trial_reads_all_shards_of_its_variant(broker: str, tmp_path: Path) -> None:
    name = f"early-{uuid.uuid4().hex[:8]}"
    settings = (HERE / "campaign_settings.py").read_text()
    settings = settings.replace('session_name = "squares"', f'session_name = "{name}"')
    (tmp_path / "campaign_settings.py").write_text(settings)
    (tmp_path / "campaign_model.py").write_text((HERE / "campaign_model.py").read_text())
    (tmp_path / "squares.toml").write_text(CAMPAIGN.format(broker=broker))
    launched(tmp_path)

    sizes = {}
    for variant, scale in ((0, 1.0), (5, 2.0)):
        data = deeptool.open(broker, f"{name}-v{variant}", "train")
        assert data.proc_ids == (0, 1)
        assert data.hparams["scale"] == scale
        sizes[f"{name}-v{variant}"] = len(data) + len(
            deeptool.open(broker, f"{name}-v{variant}", "val")
        )
    assert len(set(sizes.values())) == 1
    run = tmp_path / "runs" / "squares"
    for index, variant in enumerate((5, 0)):
        result = read_json(run / "trials" / str(index) / "result.json")
        assert result["session_name"] == f"{name}-v{variant}"
        assert result["samples_read"] == sizes[f"{name}-v{variant}"] * result["epochs_run"]
    report = read_json(run / "report.json")
    assert len(report["uploads"]) == 8
    assert report["savings"]["trials_counted"] == 2

    # Nothing is uploaded or trained again.
    assert "2 of 2 trials are complete" in launched(tmp_path)
    asked = subprocess.run(
        [COMMAND, "launch", "squares.toml", "--dry-run", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "TEST_HOLD": str(tmp_path)},
    )
    assert json.loads(asked.stdout)["run"] == []
