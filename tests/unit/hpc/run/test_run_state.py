"""The state file: to JSON and back, from an earlier release, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deeptool.errors import UserError
from deeptool.files import read_json
from hpc.processes.record import EarlierStart
from hpc.run.run_folder import RunFolder, open_run
from hpc.run.state import (
    BrokerAccount,
    RunState,
    TaskState,
    read_run_state,
    write_run_state,
)

STATE = RunState(
    *("c", "slurm", "id", {"pid": 7, "started": 1.0}, "running", 1.0, 2.0),
    tasks={
        "broker": TaskState("broker", 0, "ready", job="1", node="n1"),
        "trial-0": TaskState(
            *("trial", 0, "complete", 3, {"lr": 0.1, "layers": [4, 8]}),
            start=1.0,
            end=2.0,
            exit_code=0,
            progress={"epoch": 1},
            runs=(EarlierStart(0.0, 0.5, "n2"),),
        ),
    },
    broker=BrokerAccount("/broker", 1.5, 0.5),
    uploads=({"topic": "t"},),
    jobs={"broker": ("1",), "trials": ("2_0", "2_1")},
    submitted=True,
)


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_run_state(path) is None
    write_run_state(path, STATE)
    assert read_run_state(path) == STATE
    values = read_json(path)
    assert values["format"] == 1
    # What it says by default is left out: a thousand trials are a thousand of these.
    assert values["tasks"]["broker"] == {
        **{"role": "broker", "index": 0, "state": "ready", "job": "1", "node": "n1"}
    }


def test_facts_of_a_task(tmp_path: Path) -> None:
    changed = STATE.with_task("broker", state="complete", end=9.0)
    assert (changed.tasks["broker"].state, changed.tasks["broker"].end) == ("complete", 9.0)
    assert STATE.tasks["broker"].state == "ready"
    assert changed.tasks["trial-0"] == STATE.tasks["trial-0"]
    assert list(STATE.of("trial")) == ["trial-0"]


def test_a_state_of_an_earlier_release(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    task = {"role": "trial", "index": 0, "state": "complete", "proc_id": None, "hparams": {}}
    values = {
        **{"name": "c", "backend": "local", "id": "i", "launch": {}, "state": "complete"},
        **{"started": 1, "launched": 2, "server": None, "uploads": [], "finished": 3.0},
        "broker": {"folder": "/b", "spent": 1.0, "since": None},
        "tasks": {"trial-0": {**task, "start": 1.0, "controller": {"pid": 7, "started": 0.0}}},
    }
    path.write_text(json.dumps(values))
    state = read_run_state(path)
    assert state is not None
    assert state.broker == BrokerAccount("/b", 1.0)
    assert state.tasks["trial-0"].controller == {"pid": 7, "started": 0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 2, "name": "c"}', "newer version of deeptool"),
        ('{"name": "c", "tas', "damaged"),
        ('{"name": "c"}', "damaged"),
        ('{"kind": "broker", "format": 1}', "that of a broker, not of a campaign"),
        ('{"tasks": {"broker": {"role": "broker"}}}', "damaged"),
        ('{"tasks": ["broker"]}', "damaged"),
        ('{"tasks": {"broker": 1}, "jobs": 1}', "damaged"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        RunFolder(tmp_path).read_state()
    assert str(tmp_path / "state.json") in str(caught.value)
    with pytest.raises(UserError, match=message):
        open_run(tmp_path)
