"""What the fingerprints of the samples' code and of the training's code notice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from settings_files import write

from deeptool.settings import load_settings
from deeptool.settings.fingerprint import changed_code, pipeline_code, training_code, user_files

PIPELINE = (
    "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
    "    import tensorflow as tf\n"
    "    from shapes.square import area\n"
    "    data = tf.data.Dataset.range(FEW).map(lambda x: x * scaling.FACTOR + area(3))\n"
    "    return data.batch(batch_size)\n"
)
NAMES = {
    "before": "import json\nimport scaling\nfrom losses import loss\n",
    "after": "FEW = 5\nUNUSED = 6\nWORDS = json.load(open('words.json'))['words']\n",
    "get_total_loss": "def get_total_loss(model):\n    return loss\n",
    "get_input_pipeline": PIPELINE.replace("FEW", "FEW + len(WORDS)"),
}
FILES = {
    "scaling.py": '"""Scales."""\nimport numpy as np\nFACTOR = np.int64(3)\n',
    "losses.py": "loss = 'mse'\n",
    "shapes/__init__.py": "",
    "shapes/square.py": "from .sides import double\n"
    "def area(n, by=1):\n    return double(n) * by\n",
    "shapes/sides.py": "def double(n):\n    # twice\n    return 2 * n\n",
    "words.json": '{"words": ["a", "b"]}',
    "model.py": "import keras\nfrom blocks import block\n"
    "def model(usersettings):\n    return block()\n",
    "blocks.py": "def block():\n    return 3\n",
}


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return write(tmp_path, **NAMES)


def codes(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    settings = load_settings(path, seed=False)
    return pipeline_code(settings), training_code(settings)


def edit(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def changes(experiment: Path, file: str, old: str, new: str) -> tuple[list[str], list[str]]:
    """What an edit changes of the pipeline's code, and of the training's."""
    before = codes(experiment)
    edit(experiment.parent / file, old, new)
    after = codes(experiment)
    return changed_code(before[0], after[0]), changed_code(before[1], after[1])


SETTINGS = "mysettings_test.py"


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (SETTINGS, "FEW = 5", "FEW = 6", "FEW"),
        (SETTINGS, "scaling.FACTOR +", "scaling.FACTOR -", "get_input_pipeline"),
        (SETTINGS, "nb_train_samples = 100", "nb_train_samples = 99", "nb_train_samples"),
        ("scaling.py", "(3)", "(4)", "scaling.py"),
        ("shapes/square.py", "by=1", "by=2", "shapes/square.py"),
        ("shapes/sides.py", "2 * n", "3 * n", "shapes/sides.py"),
        ("shapes/__init__.py", "", "import os\n", "shapes/__init__.py"),
        ("words.json", '"b"', '"c"', "words.json"),
    ],
)
def test_edits_of_the_pipeline_are_named(
    experiment: Path, file: str, old: str, new: str, named: str
) -> None:
    assert changes(experiment, file, old, new) == ([named], [])


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (SETTINGS, "return 'sgd'", "return 'adam'", "get_optimizer"),
        (SETTINGS, "return ['mae']", "return []", "get_metrics"),
        (SETTINGS, "nbEpoch = hparams['nbEpoch']", "nbEpoch = 4", "nbEpoch"),
        ("model.py", "return block()", "return 2 * block()", "model file"),
        ("blocks.py", "return 3", "return 4", "blocks.py"),
        ("losses.py", "mse", "mae", "losses.py"),
    ],
)
def test_edits_of_the_training_leave_the_samples(
    experiment: Path, file: str, old: str, new: str, named: str
) -> None:
    assert changes(experiment, file, old, new) == ([], [named])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (SETTINGS, "FEW = 5", "# how many\n\n\nFEW = (\n    5\n)"),
        (SETTINGS, "UNUSED = 6", "UNUSED = 7"),
        (SETTINGS, "def get_input_pipeline(", "\n# the data\ndef  get_input_pipeline( "),
        (
            SETTINGS,
            "    import tensorflow as tf\n",
            "    '''Doc.'''\n    import tensorflow as tf\n",
        ),
        (SETTINGS, "'experiments/test'", "'elsewhere'"),
        (SETTINGS, "'learning_rate': 0.1", "'learning_rate': 0.2"),
        ("scaling.py", '"""Scales."""', "# What\n"),
        ("shapes/sides.py", "# twice", "# two times"),
        ("model.py", "import keras\n", "\n\nimport keras  # here\n"),
    ],
)
def test_edits_that_change_nothing(experiment: Path, file: str, old: str, new: str) -> None:
    assert changes(experiment, file, old, new) == ([], [])


def test_the_same_in_another_process_and_folder_of_work(experiment: Path) -> None:
    script = (
        "import sys, json\n"
        "from deeptool.settings import load_settings\n"
        "from deeptool.settings.fingerprint import pipeline_code, training_code\n"
        "settings = load_settings(sys.argv[1], seed=False)\n"
        "print(json.dumps([pipeline_code(settings), training_code(settings)]))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, experiment],
        env=os.environ | {"PYTHONHASHSEED": "3"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(told.stdout.splitlines()[-1]) == list(codes(experiment))


def test_what_is_imported_and_opened_while_the_pipeline_runs_counts(experiment: Path) -> None:
    folder = experiment.parent
    (folder / "late.py").write_text("print(end='')\n")
    (folder / "rows.csv").write_text("1\n2\n")
    function = (
        "def get_input_pipeline(folder, training, size, epochs):\n"
        "    import importlib, tensorflow as tf\n"
        "    importlib.import_module('la' + 'te')\n"
        "    def rows():\n"
        "        for line in open('rows' + '.csv'):\n"
        "            yield int(line)\n"
        "    return tf.data.Dataset.from_generator(rows, output_types=tf.int64).batch(size)\n"
    )
    path = write(folder, get_input_pipeline=function)

    def after_a_pass() -> Mapping[str, str]:
        settings = load_settings(path, seed=False)
        assert len(list(settings.pipeline("train"))) == 1
        return pipeline_code(settings)

    before = after_a_pass()
    assert changed_code(before, codes(path)[0]) == []
    for file, content in (("late.py", "LATE = 1\n"), ("rows.csv", "1\n3\n")):
        (folder / file).write_text(content)
        now = after_a_pass()
        assert changed_code(before, now) == [file]
        before = now


def test_files_of_the_user(experiment: Path) -> None:
    files = [str(f.relative_to(experiment.parent)) for f in user_files(load_settings(experiment))]
    code = {name for name in FILES if name.endswith(".py")} - {"model.py"}
    assert files == [SETTINGS, "model.py", *sorted(code)]
