"""`deeptool seal` on a real broker, and what is read from the folder without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import uploads
from click.testing import CliRunner

import deeptool
from deeptool.cli import cli

pytestmark = pytest.mark.broker

ROWS = 240


def stored(server: str, name: str, split: str = "train", **options: Any) -> None:
    """Two stored passes, in many records of four partitions."""
    x = tf.random.stateless_uniform((ROWS, 40), (1, len(split)))
    pairs = tf.data.Dataset.from_tensor_slices((x, tf.range(ROWS))).batch(16)
    known = deeptool.Provenance(hparams={"size": 3, "rate": 0.1}, data_hparams={"size": 3})
    uploads.tuned_upload(
        pairs, server, name, split, epochs=2, record_bytes=4096, provenance=known, **options
    )


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=True)
    if code == 0 and result.exception is not None:
        raise result.exception
    return result.output


def batches(data: Any) -> list[list[list[Any]]]:
    return [[np.asarray(part).tolist() for part in element] for element in data]


def test_a_sealed_dataset_is_read_as_from_the_broker(
    broker: str, session_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        stored(broker, session_name, proc_id=number, num_procs=2)
    stored(broker, session_name, "val")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPTOOL_COPIES", str(tmp_path))
    run("seal", session_name, "--to", "shared/digits", "--server", broker)
    for split in ("train", "val"):
        there = deeptool.open(broker, session_name, split)
        here = deeptool.open("shared/digits", split=split)
        assert (here.digest, here.upload_ids) == (there.digest, there.upload_ids)
        assert (here.hparams, here.epochs, len(here)) == (there.hparams, 2, len(there))
        how: dict[str, Any] = {"shuffle": True, "seed": 7, "batch_size": 10, "repeat": 3}
        assert batches(here.tf(**how)) == batches(there.tf(**how))
        assert batches(here.numpy(**how, start=(1, 3))) == batches(there.numpy(**how, start=(1, 3)))


def test_what_seal_prints(broker: str, session_name: str, tmp_path: Path) -> None:
    stored(broker, session_name)
    folder = tmp_path / "digits"
    text = run("seal", session_name, "--to", folder, "--server", broker)
    assert f"{session_name}.0.train: {2 * ROWS:,} samples, as uploaded" in text
    assert str(folder) in text
    with pytest.raises(deeptool.UserError, match="already"):
        run("seal", session_name, "--to", folder, "--server", broker)
    again = ["seal", session_name, "--to", folder, "--server", broker, "--replace"]
    result = CliRunner().invoke(cli, [*map(str, again), "--split", "train", "--json"])
    found = json.loads(result.stdout)
    assert found["folder"] == str(folder)
    assert found["bytes"] > 2 * ROWS * 41 * 4
    (upload,) = found["uploads"]
    assert (upload["topic"], upload["samples"]) == (f"{session_name}.0.train", 2 * ROWS)
    with pytest.raises(deeptool.UserError, match="no complete dataset"):
        run("seal", session_name, "--to", folder, "--server", broker, "--split", "val")
