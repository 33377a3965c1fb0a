"""The rendered script, compared with what submitit hands to a sbatch that only keeps it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpc.slurm.batch import Batch, parameters
from hpc.slurm.executor import SlurmExecutor
from hpc.slurm.job_names import JobNames
from hpc.slurm.resources import Resources
from hpc.slurm.sbatch_script import sbatch_script


def work() -> None:
    pass


def sbatch_parameters(**facts: Any) -> dict[str, Any]:
    values = {"time": "30", **facts.pop("resources", {})}
    return parameters(
        Batch("trials", (), (), Resources(**values), **facts), JobNames("id", "c"), {}
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"nodes": 2, "requeue": False, "parallel": 2},
        {
            "parallel": 9,
            "resources": {
                "cpus": 2,
                "memory": "4G",
                "gpus": 1,
                "partition": "a b",
                "account": "me",
                "setup": ("module load apptainer", "export A='b c'"),
                "extra": {"qos": "high", "cpu_freq": "high", "exclusive": True},
            },
        },
    ],
)
def test_it_is_what_submitit_submits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], count: int
) -> None:
    programs, folder = tmp_path / "bin", tmp_path / "with space" / "submitit"
    programs.mkdir()
    for name, script in {
        "sbatch": f'cp "$1" "{tmp_path}/script"; echo "Submitted batch job 7"',
        "srun": "exit 1",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    asked = sbatch_parameters(**facts)
    ids = SlurmExecutor(folder).submit([work] * count, asked)
    assert ids == (["7"] if count == 1 else [f"7_{index}" for index in range(count)])
    assert sbatch_script(asked, count, folder) == (tmp_path / "script").read_text()
    shutil.rmtree(folder)
