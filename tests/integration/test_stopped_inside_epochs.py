"""Trials that are stopped inside epochs, and resumed there: as if nothing had been."""

from __future__ import annotations

import csv
import itertools
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from paths import ROOT

from deeptool import Provenance, train, upload
from deeptool.commands.produce import command as produce
from deeptool.settings import load_settings
from deeptool.training import checkpoint
from deeptool.training.checkpoint_writer import CheckpointWriter

pytestmark = pytest.mark.broker

HERE = Path(__file__).resolve().parent
BATCHES = 11  # 84 samples in batches of 8


@pytest.fixture
def settings(tmp_path: Path, session_name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Every batch could be the last: a checkpoint after each.
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    monkeypatch.setattr(CheckpointWriter, "busy", False)
    for name in ("resumed_settings.py", "resumed_model.py"):
        text = (HERE / name).read_text()
        (tmp_path / name).write_text(text.replace('"resumed"', repr(session_name)))
    return tmp_path / "resumed_settings.py"


def store(broker: str, settings: Path, *more: str) -> None:
    arguments = ["-u", str(settings), "-s", broker, "--split", "both", *more]
    outcome = CliRunner().invoke(produce, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output


def history(session: Path) -> list[dict[str, str]]:
    """The text of history.csv, without the times."""
    with open(session / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def seen(file: str) -> list[tuple[int, list[list[int]]]]:
    """For each beginning of an epoch: its number, and the samples of the batches after that."""
    begun: list[tuple[int, list[list[int]]]] = []
    for line in Path(file).read_text().splitlines():
        if line.startswith("epoch"):
            begun.append((int(line.split()[1]), []))
        else:
            begun[-1][1].append([int(word) for word in line.split()])
    return begun


def same_arrays(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def check_alike(one: Path, other: Path) -> None:
    """Both trials came to the same, bit by bit."""
    assert history(one) == history(other)
    ends = [checkpoint.load(session / "checkpoints") for session in (one, other)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].epoch == ends[1].epoch
    assert same_arrays(ends[0].variables, ends[1].variables)
    assert same_arrays(ends[0].best, ends[1].best)
    assert ends[0].state["learned"] == ends[1].state["learned"]


STEPS = {"steps": 7, "val_steps": 2}
CUTS: list[tuple[dict[str, Any], list[tuple[int, int]]]] = [
    ({}, [(0, 1)]),
    ({"averages": True}, [(1, 3)]),
    ({"averages": True, "plateau": True, "metrics": "many"}, [(2, BATCHES - 1)]),
    ({"rate": "schedule", "metrics": "many"}, [(1, 5), (2, 2)]),
    ({"rate": "multiplied"}, [(1, 4), (2, 7)]),
    ({"rate": "epochs", "plateau": True}, [(3, 6)]),
    ({"patience": 1, "epochs": 30}, [(1, 1), (1, 9)]),
    ({**STEPS, "averages": True}, [(0, 3), (2, 6)]),
    ({"steps": 2 * BATCHES + 3}, [(1, BATCHES + 2)]),
    ({"online": "doubled"}, [(1, 5), (2, 1)]),
    ({"online": "doubled", **STEPS}, [(2, 4)]),
]
# Between them, they have all kinds of hparams.
USUAL = (2, 3, 7, 9)


@pytest.mark.parametrize(
    ("hparams", "cuts"),
    [
        pytest.param(*cut, id=str(n), marks=[] if n in USUAL else pytest.mark.soak)
        for n, cut in enumerate(CUTS)
    ],
)
def test_a_trial_stopped_inside_an_epoch_ends_as_if_nothing_had_been(
    settings: Path,
    broker: str,
    hparams: dict[str, Any],
    cuts: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store(broker, settings)
    check_cuts(settings, broker, hparams, cuts, monkeypatch, capsys)


def check_cuts(
    settings: Path,
    broker: str,
    hparams: dict[str, Any],
    cuts: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(
        settings,
        hparams={**hparams, "seen": "whole.txt", "seconds": 0},
        kafka=True,
        servers=broker,
        session_dir="whole",
    )
    whole = dict(seen("whole.txt"))
    session = Path("stopped")
    for number, (epoch, batch) in enumerate(cuts):
        monkeypatch.setenv("STOP_AT", f"{epoch},{batch}")
        how: dict[str, Any] = {"restart_from": session}
        if not number:
            how = {"settings": settings, "hparams": hparams, "kafka": True, "servers": broker}
            how |= {"session_dir": session}
        with pytest.raises(OSError, match="plug"):
            train(**how)
        kept = checkpoint.load(session / "checkpoints")
        assert kept is not None
        assert (kept.epoch, kept.batch) == (epoch, batch)
    monkeypatch.delenv("STOP_AT")
    result = train(restart_from=session)
    assert result.status == "complete"
    said = capsys.readouterr().err
    for epoch, batch in cuts:
        assert f"resumes in epoch {epoch + 1}, after {batch} batch" in said
    check_alike(session, Path("whole"))
    # Each epoch's batches, in whatever pieces, are those of the undisturbed trial.
    pieces: dict[int, list[list[int]]] = {}
    for epoch, batches in seen("seen.txt"):
        pieces.setdefault(epoch, []).extend(batches)
    assert pieces == whole


ENTRY = [sys.executable, str(ROOT / "experiments_manager.py")]


def killed(arguments: list[str], session: Path, place: tuple[int, int]) -> str:
    """Kill a trial once it has a checkpoint inside an epoch, there or later; what it had said."""
    log = Path("said.log")
    with open(log, "w") as stderr:
        process = subprocess.Popen([*ENTRY, *arguments], stderr=stderr)
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            names = [path.name.split("-") for path in session.glob("checkpoints/epoch-*-batch-*")]
            if any((int(name[1]), int(name[3])) >= place for name in names):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        assert process.wait(60) == -signal.SIGKILL, log.read_text()
        return log.read_text()
    finally:
        process.kill()
        process.wait(10)


def test_a_trial_killed_inside_epochs_ends_as_if_nothing_had_been(
    settings: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(broker, settings)
    hparams = {"averages": True, "plateau": True, "metrics": "many", "seconds": 0.1}
    how: dict[str, Any] = {"kafka": True, "servers": broker, "session_dir": "whole"}
    train(settings, hparams={**hparams, "seen": "whole.txt"}, **how)
    session = Path("killed")
    slow = [f"{key}={value}" for key, value in {**hparams, "pause": 0.15}.items()]
    arguments = ["-u", str(settings), "--kafka", "-s", broker, "--session-dir", str(session)]
    arguments += [part for each in slow for part in ("--hparam", each)]
    said = []
    for place in [(0, 2), (1, 4), (2, 6)]:
        said.append(killed(arguments, session, place))
        arguments = ["--restart_interrupted", "--model_dir", str(session)]
    last = subprocess.run([*ENTRY, *arguments], capture_output=True, text=True, timeout=240)
    assert last.returncode == 0, last.stderr
    said.append(last.stderr)
    check_alike(session, Path("whole"))
    # What was trained on after the last checkpoint before a kill is lost, and nothing else.
    resumed = [re.search(r"resumes in epoch (\d+), after (\d+) batch", text) for text in said[1:]]
    begun: list[list[list[int]]] = []
    for epoch, batches in seen("seen.txt"):
        if epoch == len(begun):
            begun.append(batches)
            continue
        found = resumed.pop(0)
        assert found is not None
        assert int(found[1]) == epoch + 1
        del begun[epoch + 1 :]
        assert len(begun[-1]) >= int(found[2])
        begun[-1] = begun[-1][: int(found[2])] + batches
    assert not resumed
    assert dict(enumerate(begun)) == dict(seen("whole.txt"))
    assert all(sorted(itertools.chain(*batches)) == list(range(84)) for batches in begun)


def test_another_upload_is_read_from_the_beginning_of_the_epoch(
    settings: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(broker, settings)
    monkeypatch.setenv("STOP_AT", "2,5")
    with pytest.raises(OSError, match="plug"):
        train(settings, kafka=True, servers=broker, session_dir="stopped")
    monkeypatch.delenv("STOP_AT")
    store(broker, settings, "--replace")
    result = train(restart_from="stopped")
    assert any("cannot resume inside epoch 3" in note for note in result.notes)
    begun = seen("seen.txt")
    assert [(epoch, len(batches)) for epoch, batches in begun] == [
        (0, 11),
        (1, 11),
        (2, 5),
        (2, 11),
        (3, 11),
    ]
    assert sorted(itertools.chain(*begun[3][1])) == list(range(84))
    # Its own pipeline, without Kafka, decides its order alone: ends of epochs only.
    monkeypatch.setenv("STOP_AT", "1,5")
    with pytest.raises(OSError, match="plug"):
        train(settings, kafka=False, session_dir="pipeline")
    kept = checkpoint.load(Path("pipeline/checkpoints"))
    assert kept is not None
    assert (kept.epoch, kept.batch) == (1, 0)


def test_stored_epochs_of_different_sizes(
    settings: Path,
    broker: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = load_settings(settings).session_name
    sizes = [17, 41]

    def numbered(epoch: int) -> Any:
        x = np.random.default_rng(epoch).normal(size=(sizes[epoch], 7)).astype("float32")
        x[:, 6] = np.arange(len(x)) + 100 * epoch
        return tf.data.Dataset.from_tensor_slices((x, x[:, :1])).batch(8)

    known = {"provenance": Provenance({}, {"samples": 84})}
    upload(numbered, broker, name, "train", epochs=2, **known)
    upload(numbered(0), broker, name, "val", **known)
    hparams = {"averages": True, "epochs": 5}
    check_cuts(settings, broker, hparams, [(1, 2), (2, 2), (3, 5)], monkeypatch, capsys)
    assert [len(batches) for _, batches in seen("whole.txt")] == [3, 6, 3, 6, 3]
