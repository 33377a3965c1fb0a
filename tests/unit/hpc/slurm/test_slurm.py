"""What Slurm's commands print, and how they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deeptool.errors import UserError, WorkError
from hpc.slurm import scheduler
from hpc.slurm.scheduler import Queued


def fake(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    return tmp_path


def test_the_queue(commands: Path) -> None:
    lines = "7|RUNNING|None|n1|a-broker\n8_3|PENDING|Dependency||a-trials\n9|COMPLETED|None|n2|b\n"
    fake(commands, "squeue", f"echo \"$@\" > {commands}/said; printf '{lines}'")
    seen = scheduler.queue()
    assert seen["8_3"] == Queued("8_3", "PENDING", "Dependency", "", "a-trials")
    assert [job for job, each in seen.items() if each.live] == ["7", "8_3"]
    assert "--user=me" in (commands / "said").read_text()


def test_the_accounting_of_a_requeued_job_is_that_of_its_last_run() -> None:
    text = "7_1|PREEMPTED|n1|t\n7_1|COMPLETED|n2|t\n8|CANCELLED by 1001|n1|u\n"
    seen = scheduler.parse_history(text)
    assert (seen["7_1"].state, seen["7_1"].nodes) == ("COMPLETED", "n2")
    assert seen["8"].state == "CANCELLED"


def test_no_accounting_is_no_news(commands: Path) -> None:
    assert scheduler.history(["7"]) == {}
    fake(commands, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert scheduler.history(["7"]) == {}
    fake(commands, "sacct", "echo '7|COMPLETED|n1|x'")
    assert scheduler.history(["7"])["7"].state == "COMPLETED"


def test_the_largest_array(commands: Path) -> None:
    fake(commands, "scontrol", "printf 'Configuration data\\nMaxArraySize            = 5\\n'")
    assert scheduler.max_array_size() == 5
    assert scheduler.chunks(12, 5) == [range(5), range(5, 10), range(10, 12)]
    assert scheduler.chunks(0, 5) == []


def test_arrays_are_cancelled_whole(commands: Path) -> None:
    fake(commands, "scancel", f'echo "$@" >> {commands}/said')
    scheduler.cancel([])
    assert not (commands / "said").exists()
    scheduler.cancel(["7_1", "7_2", "8"])
    assert (commands / "said").read_text() == "--quiet 7 8\n"


def test_a_controller_that_does_not_answer(commands: Path) -> None:
    fake(commands, "scontrol", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(WorkError, match="scontrol failed") as caught:
        scheduler.requeue("7")
    assert "Unable to contact" in str(caught.value.seen)


def test_a_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no Slurm to submit to") as caught:
        scheduler.check_there()
    assert caught.value.seen == "sbatch, squeue, scancel, scontrol not on PATH"
    assert scheduler.partitions() == []


def test_submission_from_within_a_job_is_as_from_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SLURM_CONF"):
        monkeypatch.setenv(name, "x")
    with scheduler.outside_jobs():
        assert "SLURM_JOB_ID" not in os.environ
        assert "SBATCH_PARTITION" not in os.environ
        assert os.environ["SLURM_CONF"] == "x"
    assert os.environ["SLURM_JOB_ID"] == "x"
