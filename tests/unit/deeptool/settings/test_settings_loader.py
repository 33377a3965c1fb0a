"""Executing a settings file: overrides, seeds, helpers, and every way in which it can be wrong."""

from __future__ import annotations

import inspect
import os
import random
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from settings_files import FUNCTIONS, NAMES, write

from deeptool.errors import UserError
from deeptool.settings import Settings, load_settings


def load(folder: Path, **options: Any) -> Settings:
    """Load a test file; options are load_settings' own where they are so called."""
    own = {"proc_id", "num_procs", "overrides", "seed"}
    path = write(folder, **{key: value for key, value in options.items() if key not in own})
    return load_settings(
        path,
        proc_id=options.get("proc_id"),
        num_procs=options.get("num_procs"),
        hparams=options.get("overrides"),
        seed=options.get("seed", False),
    )


def refused(folder: Path, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        load(folder, **options)
    return caught.value


def test_values_and_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.session_name == "test"
    assert settings.nbEpoch == 3
    assert settings.used_gpu_IDs == [0]
    assert settings.hparams == {
        "procID": 0,
        "image_size": 32,
        "learning_rate": 0.1,
        "nbEpoch": 3,
    }
    assert settings.consume_data_from_kafka is False
    assert settings.kafka_bootstrap_servers == ["localhost:9092"]
    assert settings.enable_mixed_precision is None
    assert settings.recoverFromCheckpoint is False
    assert settings.get_online_pipeline is None
    assert settings.get_learningRate() == 0.1
    assert settings.get_metrics(None, None) == ["mae"]
    assert (settings.proc_id, settings.num_procs) == (0, 1)
    # The model and the user's own functions see the defaults too.
    assert settings.module.kafka_bootstrap_servers == ["localhost:9092"]
    assert settings.module.enable_mixed_precision is None
    assert not hasattr(settings.module, "__deeptool_checkpoint__")


def test_what_an_experiment_cannot_do_without(tmp_path: Path) -> None:
    needed = {"session_name", "hparams", "model_file", "batch_size", "nbEpoch"}
    needed |= {"get_input_pipeline", "get_optimizer", "get_total_loss"}
    settings = load(tmp_path, **dict.fromkeys({*NAMES, *FUNCTIONS} - needed))
    assert settings.random_seed == 0
    assert settings.workingFolder == "experiments"
    assert settings.early_stopping_patience == 0
    assert settings.get_learningRate() == 0.001
    assert settings.get_metrics(None, None) == []
    assert settings.addon_callbacks(None, None, None) == []
    assert settings.raw_data("train") is None
    assert settings.module.reference_labels == []
    for name in needed - {"hparams"}:
        error = refused(tmp_path, **{name: None})
        assert f"missing: {name}" in error.what


def test_what_a_file_without_a_seed_calls_later_is_seeded(tmp_path: Path) -> None:
    draw = "import numpy as np\ntop = np.random.rand()"
    drawn = [load(tmp_path, random_seed=None, seed=True, after=draw) for _ in range(2)]
    assert drawn[0].module.top != drawn[1].module.top
    assert np.random.rand() == np.random.RandomState(0).rand()


def test_a_pipeline_that_takes_its_share_finds_that_all_is_its_own(tmp_path: Path) -> None:
    own = "share = (hparams['procID'], hparams['num_procs'])"
    settings = load(tmp_path, hparams="{'nbEpoch': 1, 'learning_rate': 1.0}", after=own)
    assert settings.module.share == (0, 1)
    assert settings.hparams == {"nbEpoch": 1, "learning_rate": 1.0}
    shard = load(tmp_path, proc_id=2, num_procs=3, after=own)
    assert shard.module.share == (2, 3)


def test_canonical_types(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        before="import numpy as np\nfrom pathlib import Path",
        after="kafka_bootstrap_servers = 'a:1, b:2'\nconsume_data_from_kafka = None",
        workingFolder="Path('x') / 'y'",
        used_gpu_IDs="(0, np.int64(1))",
        useXLA="1",
        nb_train_samples="1e3",
        nb_val_samples="np.int32(20)",
        reference_labels="range(3) and list(range(3))",
    )
    assert settings.kafka_bootstrap_servers == ["a:1", "b:2"]
    assert settings.consume_data_from_kafka is False
    assert settings.workingFolder == "x/y"
    assert settings.used_gpu_IDs == [0, 1]
    assert settings.useXLA is True
    assert (settings.nb_train_samples, type(settings.nb_train_samples)) == (1000, int)
    assert type(settings.nb_val_samples) is int
    assert settings.reference_labels == ["0", "1", "2"]


def test_summary_holds_all_variables_as_json(tmp_path: Path) -> None:
    summary = load(
        tmp_path, hparams="{'shape': (2, 3), 'nbEpoch': 1, 'learning_rate': 0}"
    ).summary()
    assert summary["hparams"]["shape"] == [2, 3]
    assert summary["settings"] == str(tmp_path / "mysettings_test.py")
    assert len(summary["settings_sha256"]) == 64
    assert summary.keys() >= set(NAMES)
    assert not summary.keys() & set(FUNCTIONS)


# ---- overrides ----


def test_overrides_are_followed_by_what_is_derived(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        after="shape = (hparams['image_size'],) * 2\npixels = shape[0] * shape[1]",
        overrides={"nbEpoch": "7", "image_size": "16"},
        proc_id=2,
    )
    assert settings.nbEpoch == 7
    assert settings.module.pixels == 256
    assert settings.hparams["procID"] == 2
    assert settings.module.hparams["image_size"] == 16
    assert settings.proc_id == 2


@pytest.mark.parametrize(
    "binding",
    [
        "{'a': 1, 'nbEpoch': 3}",
        "other = {'a': 1, 'nbEpoch': 3}",
        "dict(a=1, nbEpoch=3)\nhparams['a'] = 2\nhparams.update(a=3)",
        "{'nbEpoch': 3}\nhparams = {**hparams, 'a': 1}",
        "{}\nif True:\n    hparams = {'a': 1, 'nbEpoch': 3}\n    seen = hparams['a']",
        "{}\nfor _ in range(2):\n    hparams['nbEpoch'] = 3\n    hparams['a'] = 1\n"
        "    seen = hparams['a']",
        "{}\ntry:\n    raise KeyError\nexcept KeyError:\n    hparams = {'a': 1, 'nbEpoch': 3}\n"
        "    seen = hparams['a']",
        "{}\nwith open(__file__):\n    hparams = {'a': 1, 'nbEpoch': 3}\n    seen = hparams['a']",
        "{}\nmatch 1:\n    case 1:\n        hparams = {'a': 1, 'nbEpoch': 3}\n"
        "        seen = hparams['a']",
        "{}\nglobals()['hparams'] = {'a': 1, 'nbEpoch': 3}",
    ],
)
def test_overrides_reach_hparams_however_they_are_bound(tmp_path: Path, binding: str) -> None:
    settings = load(tmp_path, hparams=binding, after="b = hparams['a'] + 1", overrides={"a": "40"})
    assert settings.hparams == {"a": 40, "nbEpoch": 3}
    assert settings.module.b == 41
    assert vars(settings.module).get("seen", 40) == 40


def test_an_alias_of_hparams_sees_the_overrides(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        before="params = {'nbEpoch': 3, 'learning_rate': 0.1}",
        hparams="params",
        after="rate = params['learning_rate']",
        overrides={"learning_rate": "0.5"},
    )
    assert settings.module.rate == 0.5
    assert settings.module.params is settings.module.hparams


def test_overrides_from_python_have_to_be_of_the_type(tmp_path: Path) -> None:
    assert load(tmp_path, overrides={"learning_rate": 1}).hparams["learning_rate"] == 1.0
    error = refused(tmp_path, overrides={"nbEpoch": 1.5})
    assert "'nbEpoch'" in error.what
    error = refused(tmp_path, overrides={"nbEpoch": "many"})
    assert "'nbEpoch'" in error.what
    assert "int" in str(error.valid)


def test_a_wrong_override_is_not_swallowed_by_the_file(tmp_path: Path) -> None:
    before = "try:\n    hparams = {'nbEpoch': 1}\nexcept Exception:\n    pass"
    error = refused(
        tmp_path, before=before, hparams="{'nbEpoch': 1}", overrides={"nbEpoch": "many"}
    )
    assert "'nbEpoch'" in error.what


def test_unknown_overrides_are_refused_with_the_valid_ones(tmp_path: Path) -> None:
    error = refused(tmp_path, overrides={"learningrate": "1", "nbEpoch": "2", "x": "3"})
    assert error.what == ("unknown hyperparameters: learningrate (did you mean learning_rate?), x")
    assert error.valid == "procID, image_size, learning_rate, nbEpoch, num_procs"
    assert "learningrate=1" in str(error.seen)


def test_proc_id_and_num_procs_are_always_valid(tmp_path: Path) -> None:
    plain = "{'nbEpoch': 3, 'learning_rate': 0.1}"
    settings = load(tmp_path, hparams=plain, proc_id=1, num_procs=3)
    assert (settings.hparams["procID"], settings.hparams["num_procs"]) == (1, 3)
    settings = load(tmp_path, hparams=plain, overrides={"procID": "1", "num_procs": "3"})
    assert (settings.proc_id, settings.num_procs) == (1, 3)
    assert "procID" not in load(tmp_path, hparams=plain).hparams
    load(tmp_path, proc_id=1, overrides={"procID": "1"})


@pytest.mark.parametrize(
    "options",
    [
        {"proc_id": -1},
        {"num_procs": 0},
        {"proc_id": 3, "num_procs": 3},
        {"proc_id": 1, "overrides": {"procID": "2"}},
        {"overrides": {"procID": "first"}},
    ],
)
def test_proc_ids_that_cannot_be(tmp_path: Path, options: dict[str, Any]) -> None:
    assert "procID" in str(refused(tmp_path, **options)) or "num_procs" in str(options)


# ---- two loads ----


def test_two_loads_share_nothing(tmp_path: Path) -> None:
    (tmp_path / "shared_helper.py").write_text("calls = []\n")
    after = "import shared_helper\nshared_helper.calls.append(hparams['nbEpoch'])\nbag = []"
    first = load(tmp_path, after=after, overrides={"nbEpoch": "5"})
    first.module.bag.append(1)
    first.module.hparams["learning_rate"] = 9.0
    first.hparams["learning_rate"] = 8.0
    first.used_gpu_IDs.append(1)
    second = load(tmp_path, after=after)
    assert first.nbEpoch == 5
    assert second.nbEpoch == 3
    assert second.module.bag == []
    assert second.hparams["learning_rate"] == 0.1
    assert second.used_gpu_IDs == [0]
    assert second.module.shared_helper.calls == [3]
    assert first.module.__name__ != second.module.__name__
    assert first.get_learningRate() == 9.0
    assert second.get_learningRate() == 0.1


def test_helpers_of_two_folders_are_kept_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "parts").mkdir(parents=True)
        (tmp_path / name / "my_helper.py").write_text(f"who = '{name}'\n")
        (tmp_path / name / "parts/__init__.py").write_text("")
        (tmp_path / name / "parts/inner.py").write_text(f"who = '{name}'\n")
    after = "import my_helper, parts.inner, json\nwho = my_helper.who + parts.inner.who"
    assert load(tmp_path / "one", after=after).module.who == "oneone"
    json = sys.modules["json"]
    assert load(tmp_path / "two", after=after).module.who == "twotwo"
    assert sys.modules["json"] is json


def test_hparams_of_a_helper_are_overridden_there_too(tmp_path: Path) -> None:
    (tmp_path / "base_helper.py").write_text(
        "hparams = {'nbEpoch': 1, 'learning_rate': 0.1}\n"
        "def rate():\n    return hparams['learning_rate']\n"
    )
    settings = load(
        tmp_path,
        before="from base_helper import hparams, rate",
        hparams="hparams",
        after="now = rate()",
        overrides={"learning_rate": "0.7"},
    )
    assert settings.module.now == 0.7
    assert settings.nbEpoch == 1


# ---- the executed file is a file like any other ----


def test_source_tracebacks_and_names(tmp_path: Path) -> None:
    after = (
        "class Loader:\n"
        "    size = 3  # of the class\n\n"
        "def broken(x):\n"
        "    return 1 / x\n"
        "here = __file__\nname = __name__\nran = __name__ == '__main__'"
    )
    path = write(tmp_path, after=after)
    settings = load_settings(path, seed=False)
    lines = path.read_text().splitlines()
    path.write_text("something else\n" * 100)
    module = settings.module
    assert module.here == str(path)
    assert module.ran is False
    assert sys.modules[module.name] is module
    assert inspect.getsource(module.Loader) == "class Loader:\n    size = 3  # of the class\n"
    assert inspect.getsource(module.broken) == "def broken(x):\n    return 1 / x\n"
    try:
        module.broken(0)
    except ZeroDivisionError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
    assert frame.filename == str(path)
    assert frame.line == "return 1 / x"
    assert lines[(frame.lineno or 0) - 1] == "    return 1 / x"


def test_docstring_future_imports_and_dataclasses(tmp_path: Path) -> None:
    before = (
        '"""What it is."""\n'
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: Unknown\n    y: int = 3\n"
        "count: int = 4\n"
        "'a string that is no docstring'\n"
    )
    module = load(tmp_path, before=before).module
    assert module.__doc__ == "What it is."
    assert module.Point(1).y == 3
    assert module.count == 4
    assert module.__annotations__ == {"count": "int"}


def test_declared_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, before="# -*- coding: latin-1 -*-", session_name="'été'")
    path.write_bytes(path.read_text().encode("latin-1"))
    assert load_settings(path, seed=False).session_name == "été"


def test_matplotlib_draws_without_a_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    before = "import matplotlib.pyplot as plt\nfigure = plt.figure()\nplt.close(figure)"
    module = load(tmp_path, before=before).module
    assert module.plt.get_backend().lower() == "agg"
    assert os.environ["MPLBACKEND"] == "Agg"
    load(tmp_path, before=before)


def test_a_display_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    load(tmp_path)
    assert "MPLBACKEND" not in os.environ


# ---- seeds ----

DRAW = "import random, numpy as np, tensorflow as tf\n"
DRAW += "drawn = (random.random(), np.random.rand(), float(tf.random.uniform(())))"


def draw_after_seed(seed: int) -> tuple[float, float, float]:
    import tensorflow as tf

    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
    return random.random(), np.random.rand(), float(tf.random.uniform(()))


def test_a_constant_seed_is_set_before_the_file_runs(tmp_path: Path) -> None:
    module = load(tmp_path, before=DRAW, seed=True).module
    assert module.drawn == draw_after_seed(42)
    assert load(tmp_path, before=DRAW, seed=True).module.drawn == module.drawn
    assert load(tmp_path, before=DRAW, seed=True, random_seed="43").module.drawn != module.drawn


def test_another_seed_is_set_once_it_is_bound(tmp_path: Path) -> None:
    hparams = "{'nbEpoch': 1, 'seed': 5}"
    options: dict[str, Any] = {"hparams": hparams, "random_seed": "hparams['seed']", "after": DRAW}
    assert load(tmp_path, **options, seed=True).module.drawn == draw_after_seed(5)
    changed = load(tmp_path, **options, seed=True, overrides={"seed": "6"}).module.drawn
    assert changed == draw_after_seed(6)
    # A constant that is bound again later.
    changed = load(tmp_path, after=f"random_seed += 1\n{DRAW}", seed=True).module.drawn
    assert changed == draw_after_seed(43)


def test_without_seeding_the_generators_are_left_alone(tmp_path: Path) -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    assert load(tmp_path, before=DRAW, seed=False).module.drawn[0] == expected


# ---- files that are wrong ----


def test_all_missing_and_wrong_names_in_one_error(tmp_path: Path) -> None:
    error = refused(
        tmp_path,
        session_name=None,
        nbEpoch=None,
        batch_size="'32'",
        useXLA="'yes'",
        after="kafka_bootstrap_servers = 9092\nnbEpochs = 3",
        get_total_loss="get_total_loss = 'mse'\n",
        get_optimizer="def get_optimizer(model):\n    return 'sgd'\n",
    )
    heading, *lines = error.what.splitlines()
    assert heading.endswith("mysettings_test.py: 7 names missing or of the wrong type")
    assert sorted(line.strip() for line in lines) == [
        "missing: nbEpoch, expected int >= 1; the file has nbEpochs",
        "missing: session_name, expected str",
        "wrong: batch_size, expected int >= 1, found str '32'",
        "wrong: get_optimizer, expected a function of (model, loss, learning_rate), "
        "found function (model)",
        "wrong: get_total_loss, expected a function of (model), found str 'mse'",
        "wrong: kafka_bootstrap_servers, expected str or list of str, found int 9092",
        "wrong: useXLA, expected bool, found str 'yes'",
    ]
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hparams", "[1, 2]"),
        ("hparams", "{1: 2}"),
        ("batch_size", "0"),
        ("batch_size", "2.5"),
        ("batch_size", "True"),
        ("batch_size", "float('nan')"),
        ("batch_size", "float('inf')"),
        ("nb_train_samples", "-1"),
        ("random_seed", "2**32"),
        ("used_gpu_IDs", "0"),
        ("used_gpu_IDs", "['0']"),
        ("reference_labels", "'cat'"),
        ("workingFolder", "3"),
        ("useXLA", "2"),
        ("model_file", "None"),
    ],
)
def test_wrong_types(tmp_path: Path, name: str, value: str) -> None:
    error = refused(tmp_path, **{"nbEpoch": "3", name: value})
    assert f"wrong: {name}, expected" in error.what
    assert "1 name missing" in error.what


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kafka_bootstrap_servers", "[]"),
        ("kafka_bootstrap_servers", "['a:1', 2]"),
        ("kafka_bootstrap_servers", "''"),
        ("data_hparams", "'image_size'"),
        ("get_online_pipeline", "lambda dataset: dataset"),
        ("enable_mixed_precision", "'no'"),
        ("batched", "'no'"),
        ("drop_remainder", "2"),
        ("checkpoint_seconds", "-1"),
        ("checkpoint_seconds", "True"),
        ("checkpoint_seconds", "'60'"),
        ("checkpoint_seconds", "float('inf')"),
        ("checkpoint_seconds", "[]"),
        ("padding_value", "[0]"),
        ("padding_value", "{}"),
        ("padding_value", "{0: 1}"),
    ],
)
def test_wrong_types_of_optional_names(tmp_path: Path, name: str, value: str) -> None:
    error = refused(tmp_path, after=f"{name} = {value}")
    assert f"wrong: {name}, expected" in error.what


def test_names_of_batches(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.batched, settings.drop_remainder, settings.padding_value) == (True, None, None)
    assert settings.module.drop_remainder is None
    settings = load(
        tmp_path,
        before="import numpy as np",
        after="batched = 0\ndrop_remainder = np.True_\n"
        "padding_value = {'0/ids': np.int64(3), '0/words': b'-'}",
    )
    assert (settings.batched, settings.drop_remainder) == (False, True)
    assert settings.padding_value == {"0/ids": 3, "0/words": "-"}


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("", 60.0),
        ("checkpoint_seconds = None", 0.0),
        ("checkpoint_seconds = 0", 0.0),
        ("checkpoint_seconds = np.float32(0.5)", 0.5),
        ("def checkpoint_seconds():\n    return 5", 60.0),
    ],
)
def test_seconds_between_checkpoints(tmp_path: Path, line: str, seconds: float) -> None:
    """None is no other word for the default here: it switches them off."""
    settings = load(tmp_path, before="import numpy as np", after=line)
    assert (settings.checkpoint_seconds, type(settings.checkpoint_seconds)) == (seconds, float)


def test_functions_that_have_these_names_are_the_files_own(tmp_path: Path) -> None:
    """Files were written before the names meant something; itertools has a `batched`."""
    own = "def drop_remainder():\n    return 1\n\nbatched, padding_value = map, np"
    settings = load(tmp_path, before="import numpy as np", after=own)
    assert (settings.batched, settings.drop_remainder, settings.padding_value) == (True, None, None)
    assert settings.module.batched is map


def test_long_values_are_cut_in_errors(tmp_path: Path) -> None:
    assert "xxx..." in refused(tmp_path, batch_size="'x' * 1000").what


def test_a_builtin_serves_as_a_function(tmp_path: Path) -> None:
    settings = load(tmp_path, get_metrics="get_metrics = max\n")
    assert settings.get_metrics(1, 2) == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file") as caught:
        load_settings(tmp_path / "none.py")
    assert "none.py" in str(caught.value.seen)
    write(tmp_path)
    with pytest.raises(UserError) as caught:
        load_settings(tmp_path / "mysetings_test.py")
    assert str(caught.value.seen).endswith("(did you mean mysettings_test.py?)")
    with pytest.raises(UserError, match="directory"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"a = 1\nb = = 2\n", ":2:", "invalid syntax"),
        (b"a = 1\nreturn 3\n", ":2:", "outside function"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "", ""),
        (b"a = '\xff'\n", "", ""),
        (b"a = 1\0\n", "", "null"),
        (b"# -*- coding: nonsense -*-\n", "", "nonsense"),
    ],
)
def test_what_is_not_python(tmp_path: Path, content: bytes, line: str, says: str) -> None:
    path = tmp_path / "settings.py"
    path.write_bytes(content)
    with pytest.raises(UserError, match="the settings file is not Python") as caught:
        load_settings(path)
    assert line in caught.value.what
    assert says in caught.value.what
    assert "settings.py" in str(caught.value)


def test_what_the_file_raises_is_placed(tmp_path: Path) -> None:
    before = "def f(x):\n    return 1 // x\n\n\nf(0)"
    error = refused(tmp_path, before=before)
    assert error.what.endswith(
        "mysettings_test.py:2: ZeroDivisionError: integer division or modulo by zero"
    )
    assert error.seen == "return 1 // x"
    assert isinstance(error.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("before", "place", "says"),
    [
        ("import no_such_module_anywhere", ":1:", "ModuleNotFoundError"),
        ("x = 1\nimport sys\nsys.exit('enough')", ":3:", "SystemExit: enough"),
        ("import json\njson.loads('{')", ":2:", "JSONDecodeError"),
        ("nbEpoch = hparams['nbEpoch']", ":1:", "NameError"),
        ("raise RuntimeError", ":1:", "RuntimeError"),
    ],
)
def test_errors_of_the_file(tmp_path: Path, before: str, place: str, says: str) -> None:
    error = refused(tmp_path, before=before)
    assert f"mysettings_test.py{place} {says}" in error.what


def test_an_error_in_a_helper_is_placed_there(tmp_path: Path) -> None:
    (tmp_path / "bad_helper.py").write_text("x = 1\ny = x.nothing\n")
    error = refused(tmp_path, before="import bad_helper")
    assert "bad_helper.py:2: AttributeError" in error.what


def test_a_failed_file_leaves_no_module(tmp_path: Path) -> None:
    before = set(sys.modules)
    refused(tmp_path, before="1 / 0")
    assert set(sys.modules) == before


def test_an_interrupt_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, before="raise KeyboardInterrupt")


def test_paths_are_shown_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(tmp_path, before="1 / 0").what.startswith("mysettings_test.py:1:")
    monkeypatch.chdir("/")
    assert load_settings(write(tmp_path), seed=False).path == tmp_path / "mysettings_test.py"


def test_optional_names_that_are_misspelt_are_warnings(tmp_path: Path) -> None:
    own = "consume_data_from_kakfa = True\nserved_head = 'y'\nimage_size = 3\nbatch = 4"
    settings = load_settings(write(tmp_path, after=own))
    (warning,) = settings.warnings
    assert "consume_data_from_kakfa means nothing to deeptool" in warning
    assert warning.endswith("did you mean consume_data_from_kafka?")


def test_an_unknown_override_is_named_with_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lr \(did you mean learning_rate\?\)"):
        load_settings(write(tmp_path), hparams={"lr": "1"})


def test_a_variant_in_shards_is_a_dataset_of_its_own(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path), proc_id=1, num_procs=2, variant=3)
    assert settings.session_name == "test-v3"
    assert (settings.proc_id, settings.num_procs) == (1, 2)
