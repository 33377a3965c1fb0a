"""Checkpoints that are written while training continues."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptool.training import checkpoint
from deeptool.training.checkpoint import Checkpoint
from deeptool.training.checkpoint_writer import CheckpointWriter


def make(batch: int) -> Checkpoint:
    return Checkpoint(0, [np.full(3, batch)], None, {"best_epoch": None}, batch)


def test_checkpoints_are_written_in_turn_while_training_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, save = threading.Event(), checkpoint.save

    def slowly(folder: Path, kept: Checkpoint) -> None:
        if kept.batch == 1:
            assert go_on.wait(30)
        save(folder, kept)

    monkeypatch.setattr(checkpoint, "save", slowly)
    writer = CheckpointWriter(tmp_path)
    assert not writer.busy
    writer.begin(make(1))
    assert writer.busy
    assert checkpoint.load(tmp_path) is None
    later = threading.Timer(0.2, go_on.set)
    later.start()
    writer.begin(make(2))
    writer.close()
    later.join(10)
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert (found.batch, found.variables[0].tolist(), writer.busy) == (2, [2] * 3, False)


def test_what_could_not_be_written_is_raised_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError("no space left")

    writer = CheckpointWriter(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        with pytest.raises(OSError, match="no space"):
            writer.write(make(1))
        writer.begin(make(2))
        with pytest.raises(OSError, match="no space"):
            writer.begin(make(3))
    writer.write(make(4))
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found.batch == 4
    writer.close()
