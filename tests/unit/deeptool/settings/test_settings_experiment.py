"""A settings file at work: its pipelines and its model, the examples and a file of old."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from settings_files import write

from deeptool.errors import UserError
from deeptool.settings import Settings, load_settings

ORIGINAL = ROOT / "tests/unit/deeptool/settings/data/mysettings_original.py"


def fit(settings: Settings, epochs: int) -> dict[str, list[float]]:
    """Train as a trial does, in short."""
    model = settings.build_model()
    loss = settings.get_total_loss(model)
    optimizer = settings.get_optimizer(model, loss, settings.get_learningRate())
    model.compile(optimizer, loss, metrics=settings.get_metrics(model, loss))
    history = model.fit(
        settings.online(settings.pipeline("train"), True),
        validation_data=settings.online(settings.pipeline("val"), False),
        epochs=epochs,
        callbacks=settings.addon_callbacks(model, None, None),
        verbose=0,
    )
    return dict(history.history)


# ---- the pipeline ----


def test_what_the_pipeline_is_called_with(tmp_path: Path) -> None:
    function = (
        "import tensorflow as tf\ncalls = []\n"
        "def get_input_pipeline(nbEpoch, batch_size, isTraining, raw_data_files_folder):\n"
        "    calls.append((raw_data_files_folder, isTraining, batch_size, nbEpoch))\n"
        "    return tf.data.Dataset.range(3).batch(batch_size)\n"
    )
    folders = {"raw_data_dir_train": "'t'", "raw_data_dir_val": "'v'"}
    settings = load_settings(write(tmp_path, get_input_pipeline=function, **folders))
    settings.pipeline("train")
    settings.pipeline("val")
    assert settings.module.calls == [("t", True, 10, 1), ("v", False, 10, 1)]
    with pytest.raises(UserError, match="unknown split"):
        settings.pipeline("test")
    # Names of the file's own are served by position.
    function = function.replace(
        "nbEpoch, batch_size, isTraining, raw_data_files_folder):",
        "raw_data_files_folder, isTraining, batch_size, epochs):\n    nbEpoch = epochs",
    )
    settings = load_settings(write(tmp_path, get_input_pipeline=function, **folders))
    settings.pipeline("train")
    assert settings.module.calls == [("t", True, 10, 1)]


@pytest.mark.parametrize("function", ["get_input_pipeline", "get_online_pipeline"])
def test_pipelines_that_raise_or_return_something_else(tmp_path: Path, function: str) -> None:
    parameters = "dataset, isTraining" if "online" in function else "a, b, c, d"

    def load(body: str) -> Any:
        after = f"def {function}({parameters}):\n    {body}\n"
        replaced = {function: after} if "input" in function else {"after": after}
        settings = load_settings(write(tmp_path, **replaced))
        if "input" in function:
            return functools.partial(settings.pipeline, "train")
        return functools.partial(settings.online, settings.pipeline("train"), True)

    with pytest.raises(UserError, match=f"{function} does not return a tf.data.Dataset") as caught:
        load("return [1, 2]")()
    assert caught.value.seen == "list"
    with pytest.raises(UserError, match=r"mysettings_test.py:\d+: ValueError: no data") as caught:
        load("raise ValueError('no data')")()
    assert caught.value.seen == "raise ValueError('no data')"


def test_online_without_a_function_is_the_dataset_itself(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path))
    dataset = settings.pipeline("val")
    assert settings.online(dataset, False) is dataset


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        *[("{}", []), ("None", []), ("[]", []), ("[1, 2]", [1, 2]), ("(1,)", [1])],
        ("{'first': 1, 'second': 2}", [1, 2]),
    ],
)
def test_addon_callbacks(tmp_path: Path, returned: str, expected: list[int]) -> None:
    function = f"def addon_callbacks(model, train_samples, val_samples):\n    return {returned}\n"
    settings = load_settings(write(tmp_path, addon_callbacks=function), seed=False)
    assert settings.addon_callbacks(None, None, None) == expected


def test_addon_callbacks_that_are_none(tmp_path: Path) -> None:
    function = "def addon_callbacks(model, train_samples, val_samples):\n    return 'a'\n"
    settings = load_settings(write(tmp_path, addon_callbacks=function), seed=False)
    with pytest.raises(UserError, match="addon_callbacks"):
        settings.addon_callbacks(None, None, None)


def test_what_functions_raise_is_placed(tmp_path: Path) -> None:
    function = "def get_learningRate():\n    return hparams['learning']\n"
    settings = load_settings(write(tmp_path, get_learningRate=function), seed=False)
    with pytest.raises(UserError, match=r"mysettings_test.py:\d+: KeyError: 'learning'"):
        settings.get_learningRate()


# ---- the model ----

MODEL = (
    "import keras\nimport model_helper\n"
    "def model(usersettings):\n"
    "    units = usersettings.hparams['nbEpoch'] + model_helper.more\n"
    "    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])\n"
)


def test_the_model_file_is_found_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = write(tmp_path)
    (tmp_path / "model_helper.py").write_text("more = 1\n")
    (tmp_path / "model.py").write_text(MODEL)
    settings = load_settings(path, hparams={"nbEpoch": "4"}, seed=False)
    assert settings.model_path == tmp_path / "model.py"
    assert settings.build_model().output_shape == (None, 5)
    # The working directory comes first.
    (tmp_path / "work/model.py").write_text(MODEL.replace("'nbEpoch'] +", "'nbEpoch'] + 10 +"))
    assert settings.model_path == tmp_path / "work/model.py"
    assert settings.build_model().output_shape == (None, 15)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x = 1\n", "defines no function model"),
        ("def model(usersettings):\n    return 3\n", "does not return a Keras model"),
        ("def model(usersettings):\n    return usersettings.no_such_name\n", "model.py:2: Attrib"),
        ("def model(usersettings:\n", "the model file is not Python: "),
        ("return\n", "model.py:1: 'return' outside function"),
        ("import nothing_like_it\n", "model.py:1: ModuleNotFoundError"),
    ],
)
def test_models_that_cannot_be_built(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "model.py").write_text(content)
    with pytest.raises(UserError) as caught:
        load_settings(write(tmp_path), seed=False).build_model()
    assert says in caught.value.what


def test_a_missing_model_file(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path), seed=False)
    with pytest.raises(UserError, match="model_file") as caught:
        settings.build_model()
    assert str(tmp_path / "model.py") in str(caught.value.seen)
    assert str(Path.cwd() / "model.py") in str(caught.value.seen)
    assert caught.value.next_step == "correct model_file"
    (tmp_path / "models.py").write_text("")
    with pytest.raises(UserError) as caught:
        settings.build_model()
    assert caught.value.next_step == "correct model_file: there is models.py"


# ---- whole files ----


def test_a_file_of_the_original_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = load_settings(ORIGINAL, proc_id=3, hparams={"nbEpoch": "1", "seriesLength": "12"})
    assert settings.session_name == "sines_phase"
    assert (settings.nbEpoch, settings.batch_size, settings.validation_steps) == (2, 8, 2)
    assert settings.random_seed == 11
    x, y = settings.pipeline("train").element_spec
    assert (tuple(x.shape), tuple(y.shape)) == ((8, 12), (8, 1))
    batches = list(settings.pipeline("val").as_numpy_iterator())
    assert len(batches) == 2
    history = fit(settings, epochs=1)
    assert np.isfinite(history["val_loss"]).all()
    assert settings.data_hparams() == {"seriesLength": 12, "noiseLevel": 0.1}
    client = settings.module.Client_IO()
    assert client.getInputData(5)["series"].shape == (12,)
    assert settings.summary()["hparams"]["procID"] == 3
    assert "served_head" not in settings.summary()


def test_the_regression_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(ROOT / "examples/regression/mysettings_curve_fitting.py")
    assert settings.session_name == "curve_fitting"
    batches = list(settings.pipeline("train").as_numpy_iterator())
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert x.shape == y.shape == (1000, 1)
    assert x.dtype == y.dtype == np.float32
    assert np.std(y - x**2) == pytest.approx(0.05, rel=0.1)
    assert settings.data_hparams() == {"noise": 0.05}
    history = fit(settings, settings.nbEpoch)
    # The noise's own variance is 0.0025.
    assert history["val_loss"][-1] < 0.02
    again = load_settings(settings.path, hparams={"noise": "0"})
    x, y = next(iter(again.pipeline("val").as_numpy_iterator()))
    assert y == pytest.approx(x**2)


@pytest.mark.parametrize("size", [16, 32])
def test_the_digits_example(size: int) -> None:
    path = ROOT / "examples/digits/mysettings_digits.py"
    settings = load_settings(path, hparams={"image_size": str(size)})
    first, again = (settings.pipeline("val").take(1).as_numpy_iterator().next() for _ in range(2))
    assert first[0].shape == (64, size, size, 1)
    assert first[0].dtype == np.uint8
    assert first[0].std() > 20
    assert (first[0] == again[0]).all()
    assert settings.data_hparams() == {"image_size": size}
    dataset = settings.pipeline("val").take(1)
    assert settings.online(dataset, False) is dataset
    online, _ = settings.online(dataset, True).as_numpy_iterator().next()
    assert online.shape == first[0].shape
    assert np.std(online - first[0]) > 8
    still = load_settings(path, hparams={"image_size": str(size), "augmentation": "0"})
    assert still.online(dataset, True) is dataset
    assert settings.build_model().output_shape == (None, 10)


def test_the_digits_are_split_by_is_training() -> None:
    settings = load_settings(ROOT / "examples/digits/mysettings_digits.py")
    settings.module.preprocess = lambda image, index, distort: np.full(
        (32, 32, 1), index % 251, np.uint8
    )
    sizes = {}
    for split in ("train", "val"):
        batches = list(settings.pipeline(split).as_numpy_iterator())
        counts = np.bincount(np.concatenate([labels for _, labels in batches]))
        assert len(counts) == 10
        assert counts.min() > 0.05 * counts.sum()
        sizes[split] = counts.sum()
    assert sizes == {"train": 1437, "val": 360}


def test_the_named_inputs_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(ROOT / "examples/named_inputs/mysettings_named_inputs.py")
    x, y = settings.pipeline("val").element_spec
    assert {name: spec.dtype.name for name, spec in x.items()} == {
        "city": "string",
        "rooms": "float32",
        "age": "int32",
    }
    assert x["rooms"].ragged_rank == 1
    assert {name: spec.dtype.name for name, spec in y.items()} == {
        "price": "float32",
        "sold": "bool",
    }
    history = fit(settings, epochs=3)
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert settings.data_hparams() == {"most_rooms": 6}
    fewer = load_settings(settings.path, hparams={"cities_known": "1"})
    online = fewer.online(fewer.pipeline("val"), False)
    cities = np.concatenate([x["city"] for x, _ in online.as_numpy_iterator()])
    assert set(cities) == {0, 1}


def test_a_settings_file_is_loaded_without_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from deeptool.settings import load_settings;"
        f"s = load_settings({str(write(tmp_path))!r}, seed=False); s.data_hparams(); s.summary();"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_raw_data_folders_lie_in_the_working_directory_or_beside_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, elsewhere = tmp_path / "settings", tmp_path / "elsewhere"
    for folder in (beside / "here", beside / "both", elsewhere / "both"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x" * len(str(folder)))
    seen = "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
    seen += "    raise ValueError(raw_data_files_folder)\n"
    given = "('here', 'both', 'gs://bucket', '*.png', '')"
    path = write(beside, get_input_pipeline=seen, raw_data_dir_train=given)
    monkeypatch.chdir(elsewhere)
    settings = load_settings(path, seed=False)
    with pytest.raises(UserError) as error:
        settings.pipeline("train")
    folders = (str(beside / "here"), "both", "gs://bucket", "*.png", "")
    assert str(folders) in str(error.value)
    assert settings.raw_data("train")["files"] == 2


def test_a_raw_data_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    failing = "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
    failing += "    raise ValueError('no files')\n"
    path = write(tmp_path, get_input_pipeline=failing, raw_data_dir_val="'nowhere'")
    with pytest.raises(UserError, match="raw_data_dir_val") as error:
        load_settings(path, seed=False).pipeline("val")
    assert error.value.seen == "nowhere"
    assert "no files" in str(error.value)
