"""What deeptool plan is asked, and where it runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deeptool.errors import UserError, WorkError
from deeptool.outcome import CommandError, Outcome
from deeptool.outcome import write as write_outcome
from hpc.campaign.plan import SNAPSHOT_VARIABLE, make_plan
from hpc.campaign.toml_file import parse
from hpc.run.settings_plan import SettingsPlan, ask_settings, code_id, plan_request

ANSWER = {
    "session_name": "s",
    "hparams": {"lr": 0.1},
    "datasets": [{"procID": 0, "split": "train", "topic": "s.0.train", "stored": None}],
    "refused": [],
    "versions": {"0": {"data": {}, "training": {}}},
    "same": {},
    "warnings": ["the raw data changed"],
}


class Asked:
    """Stands in for running the command."""

    def __init__(self, code: int = 0, error: CommandError | None = None) -> None:
        self.code, self.error = code, error
        self.argv: tuple[str, ...] = ()
        self.env: Mapping[str, str] = {}

    def __call__(
        self, argv: Sequence[str], check: Any, timeout: float, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        self.argv, self.env = tuple(argv), env
        if self.error is not None:
            write_outcome(env["DEEPTOOL_OUTCOME"], Outcome(self.code, self.error))
        return subprocess.CompletedProcess(argv, self.code, json.dumps(ANSWER), "Killed\n")


def ask(tmp_path: Path, **parts: Any) -> SettingsPlan:
    (tmp_path / "settings.py").write_text("")
    (tmp_path / "client").write_text("")
    raw = {"name": "c", "settings": "settings.py", "run_dir": str(tmp_path / "run"), **parts}
    campaign = parse(raw, tmp_path / "c.toml")
    folder = tmp_path / "copies"
    folder.mkdir()
    plan = make_plan(campaign, "r")
    return ask_settings(campaign, plan, {}, (), folder=folder, programs=lambda name: (name,))


def test_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("")
    raw = {
        "name": "c",
        "settings": "settings.py",
        "hparams": {"nbEpoch": 2},
        "producers": {"variants": [{"procID": 3, "hparams": {"size": 8}}], "reuse": "always"},
        "trials": {"grid": {"lr": [1]}},
    }
    campaign = parse(raw, tmp_path / "c.toml")
    assert plan_request(campaign, make_plan(campaign, "r"), {"v": {}}) == {
        "format": 1,
        "hparams": {"nbEpoch": 2},
        "variants": [{"procID": 3, "hparams": {"size": 8}}],
        "num_procs": None,
        "auto_shard": False,
        "splits": ["train", "val"],
        "epochs": 1,
        "trials": [{"hparams": {"nbEpoch": 2, "size": 8, "lr": 1}, "procID": 3}],
        "versions": {"v": {}},
        "probe": False,
        "model": True,
    }


def test_an_existing_kafka_is_asked_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked()
    monkeypatch.setattr("hpc.run.settings_plan.finished", asked)
    broker = {"bootstrap_servers": ["a:1", "b:2"], "client_properties": "client"}
    found = ask(tmp_path, broker=broker)
    words = " ".join(asked.argv)
    assert words.startswith(
        f"deeptool plan --usersettings {tmp_path / 'settings.py'} --server a:1,"
    )
    assert f"--client-properties {tmp_path / 'client'}" in words
    assert found.warnings == ("the raw data changed",)
    assert found.stored[0].state == ""


def test_it_runs_in_the_image_and_sees_its_own_folder_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked()
    monkeypatch.setattr("hpc.run.settings_plan.finished", asked)
    monkeypatch.setattr("hpc.processes.apptainer.find", lambda: "/bin/apptainer")
    monkeypatch.setattr("hpc.processes.apptainer.check_image", lambda image: None)
    ask(tmp_path, images={"use": True, "tensorflow": str(tmp_path / "tf.sif")})
    bound = [asked.argv[n + 1] for n, word in enumerate(asked.argv) if word == "--bind"]
    assert str(tmp_path / "copies") in bound
    # The run folder is not there before the first launch.
    assert str(tmp_path / "run") not in bound
    assert asked.env["APPTAINERENV_DEEPTOOL_OUTCOME"] == str(tmp_path / "copies" / "outcome.json")


def test_its_errors_are_the_launchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = CommandError("text", "there is no hparam lrr", seen="lrr", next_step="correct it")
    monkeypatch.setattr("hpc.run.settings_plan.finished", Asked(2, wrong))
    with pytest.raises(UserError, match="there is no hparam lrr\n  seen: lrr\n  next: correct it"):
        ask(tmp_path)


def test_one_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc.run.settings_plan.finished", Asked(137))
    with pytest.raises(WorkError, match="deeptool plan failed\n  seen: Killed"):
        ask(tmp_path)


def test_copies_are_named_by_what_is_in_them(tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "settings.py").write_text(text)
    names = [code_id(tmp_path / name) for name in "abc"]
    assert names[0] == names[1] != names[2]


def test_tasks_are_told_where_the_copies_are(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("")
    raw = {"name": "c", "settings": "settings.py", "trials": {"grid": {"lr": [1]}}}
    plan = make_plan(parse(raw, tmp_path / "c.toml"), "r", snapshot=Path("/runs/c/code/1"))
    told = {task.name: task.env.get(SNAPSHOT_VARIABLE) for task in plan.tasks}
    assert told == {"broker": None, "producer-0": "/runs/c/code/1", "trial-0": "/runs/c/code/1"}
