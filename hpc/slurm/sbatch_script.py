"""The script that submitit hands to sbatch, as text, without a Slurm to hand it to.

submitit writes it only when it submits. A test compares what is here with that file.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# submitit's own parameters; all others are options of sbatch.
_NOT_SBATCH = {
    "array_parallelism",
    "additional_parameters",
    "setup",
    "signal_delay_s",
    "stderr_to_stdout",
    "srun_args",
}


def sbatch_script(parameters: Mapping[str, Any], count: int, folder: Path) -> str:
    """The script for a job, or for an array of jobs.

    Parameters
    ----------
    parameters : mapping
        As `hpc.slurm.batch.parameters` has them.
    count : int
        Array tasks; 1 for a job that is none.
    folder : Path
        For submitit's files.
    """
    options = {
        key: value
        for key, value in parameters.items()
        if key not in _NOT_SBATCH and value is not None
    }
    log = str(Path(folder).expanduser().absolute() / "%j_%t_log.out")
    if count > 1:
        options["array"] = f"0-{count - 1}%{min(count, parameters['array_parallelism'])}"
        log = log.replace("%j", "%A_%a")
    options |= {
        "signal": f"USR2@{parameters['signal_delay_s']}",
        "output": log.replace("%t", "0"),
        "open-mode": "append",
        **parameters["additional_parameters"],
    }
    srun = ["srun", "--unbuffered", "--output", log, *parameters.get("srun_args", ())]
    python = shlex.quote(sys.executable)
    command = f"{python} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    lines = ["#!/bin/bash", "", "# Parameters"]
    lines += [_flag(key, value) for key, value in sorted(options.items())]
    if parameters.get("setup"):
        lines += ["", "# setup", *parameters["setup"]]
    lines += ["", "# command", "export SUBMITIT_EXECUTOR=slurm", f"{shlex.join(srun)} {command}"]
    return "\n".join(lines) + "\n"


def _flag(key: str, value: object) -> str:
    name = f"#SBATCH --{key.replace('_', '-')}"
    return name if value is True else f"{name}={shlex.quote(str(value))}"
