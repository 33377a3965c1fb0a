"""The costs of settings files' pipelines: with an online part, of single samples, endless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from settings_files import write

from deeptool.errors import WorkError
from deeptool.files import read_json, write_json
from deeptool.pipelines import pipeline_costs
from deeptool.pipelines.advice import advise
from deeptool.pipelines.iterator_model import has_model
from deeptool.pipelines.pipeline_costs import measure_costs, settings_costs
from deeptool.report.advice_text import advice_lines
from deeptool.settings import load_settings

needs_model = pytest.mark.skipif(
    not has_model(), reason="this TensorFlow shows no iterator's model"
)
SECONDS = 0.5
LARGER = "tf.cast(tf.repeat(x[..., None], 1000, -1), tf.float32)"


def costs(folder: Path, pipeline: str, online: str = "", **names: str) -> dict[str, Any]:
    file = settings(folder, pipeline, online, **names)
    found = settings_costs(load_settings(file), ["train", "val"], SECONDS)
    # Whatever was measured can be told.
    assert list(advice_lines(found, advise(found, 2)))
    return found


def settings(folder: Path, pipeline: str, online: str = "", **names: str) -> Path:
    head = "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
    after = ""
    if online:
        after = f"def get_online_pipeline(dataset, isTraining):\n    return {online}\n"
    return write(
        folder,
        before="import tensorflow as tf",
        after=after,
        get_input_pipeline=f"{head}    return {pipeline}\n",
        **{"model_file": "'model.py'", **names},
    )


@needs_model
def test_what_trials_do_online_is_told_apart(tmp_path: Path) -> None:
    found = costs(
        tmp_path,
        "tf.data.Dataset.range(100).map(lambda x: x + 1).batch(batch_size)",
        f"dataset.map(lambda x: {LARGER}).prefetch(1)",
    )
    row = found["splits"]["train"]
    shown = [(stage["kind"], stage["online"]) for stage in row["stages"]]
    assert shown == [
        ("Range", False),
        ("Map", False),
        ("BatchV2", False),
        ("Map", True),
        ("Prefetch", True),
    ]
    assert row["stages"][-1]["bytes"] == pytest.approx(4000, rel=0.1)
    assert (row["samples"], found["nbEpoch"], found["codec"]) == (100, 3, "arrow")
    assert 8 <= row["stored"]["record_bytes"] < 40
    assert found["splits"]["val"]["samples"] == 20
    assert row["stored"]["save_seconds"] > 0


@needs_model
def test_single_samples_are_batched_before_the_online_part(tmp_path: Path) -> None:
    file = settings(tmp_path, "tf.data.Dataset.range(100)", "dataset.map(lambda x: x * 2)")
    file.write_text(file.read_text() + "\nbatched = False\n")
    found = settings_costs(load_settings(file), ["train"], SECONDS)
    shown = [(stage["kind"], stage["online"]) for stage in found["splits"]["train"]["stages"]]
    assert shown == [("Range", False), ("BatchV2", True), ("Map", True)]


@needs_model
def test_an_endless_pipeline_ends_where_the_settings_say(tmp_path: Path) -> None:
    found = costs(tmp_path, "tf.data.Dataset.range(7).repeat().batch(batch_size)")
    assert found["splits"]["train"]["samples"] == 100
    assert found["splits"]["train"]["stages"][1]["kind"] == "Repeat"


@needs_model
def test_how_many_samples_there_are_may_be_unknown(tmp_path: Path) -> None:
    pipeline = "tf.data.Dataset.range(10**9).filter(lambda x: x % 2 == 0).batch(batch_size)"
    found = costs(tmp_path, pipeline, nb_train_samples="0", nb_val_samples="0")
    assert found["splits"]["train"]["samples"] is None


@needs_model
def test_a_pipeline_that_fails_in_the_other_process_is_an_error(tmp_path: Path) -> None:
    file = settings(
        tmp_path, "tf.data.Dataset.range(9).map(lambda x: tf.debugging.assert_less(x, 0))"
    )
    with pytest.raises(WorkError, match="costs of the input pipeline") as failed:
        measure_costs(str(file), {}, ["train"], SECONDS)
    assert failed.value.seen_text


def test_a_tensorflow_without_a_model_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_costs, "has_model", lambda: False)
    asked, answer = tmp_path / "request.json", tmp_path / "answer.json"
    write_json(asked, {"usersettings": "none.py", "hparams": {}, "splits": ["train"], "seconds": 1})
    pipeline_costs._answer(asked, answer)
    assert "does not tell what stages cost" in read_json(answer)["unmeasured"]
