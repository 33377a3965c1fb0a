"""What a launch says last: the best trial."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hpc.campaign.toml_file import parse
from hpc.run.best_trial import best_trial_lines


def lines(tmp_path: Path, *trials: dict[str, Any], **parts: Any) -> list[str]:
    (tmp_path / "settings.py").write_text("")
    raw = {"name": "c", "settings": "settings.py", "run_dir": str(tmp_path), **parts}
    report = {"trials": trials, "metric": "val_accuracy", "varied": ["lr"]}
    return list(best_trial_lines(parse(raw, tmp_path / "c.toml"), report))


def trial(index: int, **facts: Any) -> dict[str, Any]:
    return {
        **{"index": index, "status": "complete", "best_epoch": 7, "folder": f"trials/{index}"},
        **{"best": {"val_accuracy": 0.98765}, "proc_id": 1, "planned_hparams": ["lr", "name"]},
        **{"hparams": {"lr": 0.5, "name": "a b", "width": 3}},
        **facts,
    }


def test_number_metric_hparams_model_and_command(tmp_path: Path) -> None:
    model = tmp_path / "trials" / "3" / "model.keras"
    model.parent.mkdir(parents=True)
    model.write_text("")
    best, path, again = lines(tmp_path, trial(3), trial(1), trials={"list": [{"lr": 0.5}]})
    assert best == "best trial: 3, val_accuracy 0.9877 in epoch 7: lr=0.5"
    assert path == f"  its model: {model}"
    words = shlex.split(again.removeprefix("  train it again: "))
    assert words[:4] == ["deeptool", "train", "--usersettings", str(tmp_path / "settings.py")]
    assert words[4:] == ["--procID", "1", "--hparam", "lr=0.5", "--hparam", "name=a b"] + [
        "--no-kafka"
    ]


def test_it_reads_from_a_kafka_that_stays(tmp_path: Path) -> None:
    broker = {"bootstrap_servers": ["h:1", "h:2"]}
    _, again = lines(tmp_path, trial(3, proc_id=None), broker=broker)
    assert again.endswith("--kafka --server h:1,h:2")
    assert "--procID" not in again


def test_nothing_is_said_where_no_trial_is_complete(tmp_path: Path) -> None:
    assert lines(tmp_path) == []
    assert lines(tmp_path, trial(0, status="diverged")) == []
