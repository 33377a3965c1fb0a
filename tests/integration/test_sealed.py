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
    options = {"record_bytes": 4096, **options}
    uploads.tuned_upload(pairs, server, name, split, epochs=2, provenance=known, **options)


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


@pytest.mark.parametrize("codec", ["arrow", "example"])
def test_a_sealed_dataset_is_stored_again_with_the_same_digests(
    broker: str, session_name: str, tmp_path: Path, codec: str
) -> None:
    options = {"codec": codec, "record_bytes": 4096} if codec == "arrow" else {"codec": codec}
    for number in range(2):
        stored(broker, session_name, proc_id=number, num_procs=2, **options)
    ragged = tf.data.Dataset.range(60).map(
        lambda n: (tf.range(tf.cast(n % 7, tf.int32) + 1), tf.strings.as_string(n))
    )
    uploads.tuned_upload(
        ragged.ragged_batch(8), broker, session_name, "val", codec=codec, batch_size=8
    )
    folder, again = tmp_path / "digits", f"{session_name}-again"
    run("seal", session_name, "--to", folder, "--server", broker)
    text = run("unseal", folder, "--name", again, "--server", broker)
    assert f"{again}.1.train: stored {2 * ROWS:,} samples" in text
    for split in ("train", "val"):
        before = deeptool.open(broker, session_name, split)
        after = deeptool.open(broker, again, split)
        assert after.digest == before.digest
        assert not set(after.upload_ids) & set(before.upload_ids)
        assert (after.hparams, after.batch_size) == (before.hparams, before.batch_size)
        for old, new in zip(before.stored.shards, after.stored.shards, strict=True):
            first, second = old.upload.completed, new.upload.completed
            assert first is not None
            assert second is not None
            for one, other in zip(first.epochs, second.epochs, strict=True):
                assert (one.samples, one.bytes, one.batches) == (
                    *(other.samples, other.bytes, other.batches),
                )
                assert (one.record_runs, one.row_bytes) == (other.record_runs, other.row_bytes)
    # All of it is checked, and what is there is not replaced without a word.
    assert run("check", again, "--server", broker).count("as uploaded") == 3
    ids = deeptool.open(broker, again).upload_ids
    run("unseal", folder, "--name", again, "--server", broker)
    assert deeptool.open(broker, again).upload_ids == ids
    other = tf.data.Dataset.range(20).batch(4)
    uploads.tuned_upload(other, broker, f"{again}-other")
    with pytest.raises(deeptool.UserError, match="holds a complete dataset"):
        run("unseal", folder, "--name", f"{again}-other", "--server", broker)
    result = CliRunner().invoke(
        cli, ["unseal", str(folder), "--name", again, "--server", broker, "--replace", "--json"]
    )
    assert [row["samples"] for row in json.loads(result.stdout)] == [2 * ROWS, 2 * ROWS, 60]


def test_damaged_rows_are_not_stored_again(broker: str, session_name: str, tmp_path: Path) -> None:
    stored(broker, session_name)
    folder, again = tmp_path / "digits", f"{session_name}-again"
    run("seal", session_name, "--to", folder, "--server", broker)
    (path,) = folder.glob("*/pass-1/rows.arrow")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(deeptool.WorkError, match="a sealed dataset is damaged"):
        run("unseal", folder, "--name", again, "--server", broker)
    with pytest.raises(deeptool.NotStored):
        deeptool.open(broker, again)
