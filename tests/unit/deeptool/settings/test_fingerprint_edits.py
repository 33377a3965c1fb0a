"""Which edits change the fingerprint of the samples' code, and which do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from settings_files import write

from deeptool.settings import load_settings
from deeptool.settings.fingerprint import changed_code, pipeline_code

BEFORE = """\
import os, json
import scaling, losses
import common
import registers
from words import *
from keras.config import set_image_data_format
"""
AFTER = """\
FEW = 5
UNUSED = 6
TWICE = 2 * FEW
sizes = []
sizes.append(3)
class Config:
    factor = 1
    other = 1
Config.factor = 4
def level():
    return level.value
level.value = 2
setattr(level, "by", 1)
os.environ["FACTOR"] = "1"
os.makedirs(workingFolder, exist_ok=True)
common.configure(7)
set_image_data_format("channels_last")
print("loading", UNUSED)
def flip(x):
    return -x
def tuned(x):
    return x + 1
hparams["use"] = flip
if hparams["procID"] >= 0:
    MODE = "a"
else:
    MODE = "b"
if __name__ == "__main__":
    print("run me not")
"""
PIPELINE = '''\
def prepare(x, by=1):
    """Scale."""
    return x * scaling.FACTOR + len(WORDS) + Config.factor * level() * by
def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import tensorflow as tf
    from shapes.square import area
    data = tf.data.Dataset.range(TWICE).map(lambda x: prepare(x) + area(3) + len(sizes))
    if MODE == "a":
        data = data.skip(1)  # the header
    return data.map(hparams["use"]).batch(batch_size)
'''
FILES = {
    "scaling.py": '"""Scales."""\nimport deeper\nFACTOR = 3\nif True:\n    pass\n',
    "deeper.py": "def later():\n    import deepest\n",
    "deepest.py": "DEPTH = 1\n",
    "losses.py": "loss = 'mse'\n",
    "words.py": "WORDS = ['a', 'b']\n",
    "registers.py": "import os\nos.environ['REGISTERED'] = '1'\n",
    "shapes/__init__.py": "",
    "shapes/square.py": "from .sides import double\n"
    "def area(n, by=1):\n    return double(n) * by\n",
    "shapes/sides.py": "def double(n):\n    # twice\n    return 2 * n\n",
    "model.py": "import blocks\ndef model(usersettings):\n    return blocks.block()\n",
    "blocks.py": "def block():\n    return 3\n",
    "elsewhere/common.py": "level = 0\ndef configure(to):\n    global level\n    level = to\n",
}
SETTINGS = "mysettings_test.py"
LOSS = "def get_total_loss(model):\n    return losses.loss\n"


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "elsewhere")])
    monkeypatch.setenv("FACTOR", "")
    monkeypatch.setenv("REGISTERED", "")
    return write(tmp_path, BEFORE, AFTER, get_input_pipeline=PIPELINE, get_total_loss=LOSS)


def code(path: Path) -> dict[str, str]:
    return pipeline_code(load_settings(path, seed=False))


def changed_by(experiment: Path, file: str, old: str, new: str) -> list[str]:
    """What an edit changes; undone, it changes nothing."""
    before = code(experiment)
    edited = experiment.parent / file
    original = edited.read_text()
    assert old in original
    edited.write_text(original.replace(old, new))
    changed = changed_code(before, code(experiment))
    edited.write_text(original)
    assert code(experiment) == before
    return changed


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (SETTINGS, "FEW = 5", "FEW = 6", "FEW"),
        (SETTINGS, "TWICE = 2 * FEW", "TWICE = 3 * FEW", "TWICE"),
        (SETTINGS, "scaling.FACTOR +", "scaling.FACTOR -", "prepare"),
        (SETTINGS, "by=1", "by=2", "prepare"),
        (SETTINGS, "data.skip(1)", "data.skip(2)", "get_input_pipeline"),
        (SETTINGS, "area(3)", "area(4)", "get_input_pipeline"),
        (SETTINGS, "nb_train_samples = 100", "nb_train_samples = 99", "nb_train_samples"),
        (SETTINGS, "raw_data_dir_val = ''", "raw_data_dir_val = 'v'", "raw_data_dir_val"),
        (SETTINGS, "random_seed = 42", "random_seed = 43", "random_seed"),
        (SETTINGS, "sizes.append(3)", "sizes.append(4)", "sizes.append(3)"),
        (SETTINGS, "sizes = []", "sizes = [1]", "sizes"),
        (SETTINGS, "    factor = 1", "    factor = 2", "Config"),
        (SETTINGS, "Config.factor = 4", "Config.factor = 5", "Config.factor"),
        (SETTINGS, "return level.value", "return 1 + level.value", "level"),
        (SETTINGS, "level.value = 2", "level.value = 3", "level.value"),
        (SETTINGS, 'setattr(level, "by", 1)', 'setattr(level, "by", 2)', "setattr(level"),
        (SETTINGS, '["FACTOR"] = "1"', '["FACTOR"] = "2"', "os.environ['FACTOR']"),
        (SETTINGS, "common.configure(7)", "common.configure(8)", "common.configure(7)"),
        (SETTINGS, "channels_last", "channels_first", "set_image_data_format"),
        (SETTINGS, "return -x", "return -2 * x", "flip"),
        (SETTINGS, 'MODE = "b"', 'MODE = "c"', "if hparams['procID'] >= 0:"),
        ("scaling.py", "FACTOR = 3", "FACTOR = 4", "scaling.py"),
        ("scaling.py", "if True:", "if False:", "scaling.py"),
        ("deeper.py", "later", "much_later", "deeper.py"),
        ("deepest.py", "1", "2", "deepest.py"),
        ("words.py", "'b'", "'c'", "words.py"),
        ("registers.py", "= '1'", "= '2'", "registers.py"),
        ("shapes/__init__.py", "", "import os\n", "shapes/__init__.py"),
        ("shapes/square.py", "by=1", "by=2", "shapes/square.py"),
        ("shapes/sides.py", "2 * n", "3 * n", "shapes/sides.py"),
        ("elsewhere/common.py", "level = 0", "level = 1", "elsewhere/common.py"),
    ],
)
def test_edits_that_are_named(experiment: Path, file: str, old: str, new: str, named: str) -> None:
    changed = changed_by(experiment, file, old, new)
    assert any(name.startswith(named) for name in changed), changed
    # A statement that is no assignment goes by its text: it is there before and after.
    assert len(changed) <= 2


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (SETTINGS, "FEW = 5", "# how many\n\n\nFEW = (\n    5\n)"),
        (SETTINGS, "UNUSED = 6", "UNUSED = 7"),
        (SETTINGS, "return x + 1", "return x + 2"),
        (SETTINGS, "# the header", "# what comes first"),
        (SETTINGS, '"""Scale."""', "'''Scale by the factor, and more.'''"),
        (SETTINGS, '    """Scale."""\n', ""),
        (SETTINGS, "def get_input_pipeline(", "\n\n# the data\ndef  get_input_pipeline( "),
        (SETTINGS, 'MODE == "a"', "(MODE == 'a')"),
        (SETTINGS, "import os, json", "import json\nimport os"),
        (SETTINGS, "import os, json", "import os\nimport tempfile"),
        (SETTINGS, 'print("loading", UNUSED)', 'print("loaded")'),
        (SETTINGS, "run me not", "nothing to run"),
        (SETTINGS, "return 'sgd'", "return 'adam'"),
        (SETTINGS, "return ['mae']", "return []"),
        (SETTINGS, "nbEpoch = hparams['nbEpoch']", "nbEpoch = 4"),
        (SETTINGS, "batch_size = 10", "batch_size = 20"),
        (SETTINGS, "'learning_rate': 0.1", "'learning_rate': 0.2"),
        (SETTINGS, "experiments/test", "experiments/other"),
        (SETTINGS, "model_file = 'model.py'", "model_file = 'blocks.py'"),
        (SETTINGS, "return losses.loss", "return 'mae'"),
        ("scaling.py", '"""Scales."""', "# What\n"),
        ("scaling.py", "    pass\n", "    pass  # nothing\n\n"),
        ("shapes/sides.py", "# twice", "# two times"),
        ("losses.py", "mse", "mae"),
        ("model.py", "blocks.block()", "2 * blocks.block()"),
        ("blocks.py", "return 3", "return 4"),
    ],
)
def test_edits_that_change_nothing(experiment: Path, file: str, old: str, new: str) -> None:
    assert changed_by(experiment, file, old, new) == []


def test_hyperparameters_are_no_code(experiment: Path) -> None:
    settings = load_settings(experiment, hparams={"learning_rate": 3.0}, proc_id=2, seed=False)
    assert pipeline_code(settings) == code(experiment)


def test_a_module_that_comes_or_goes(experiment: Path) -> None:
    before = code(experiment)
    (experiment.parent / "words.py").rename(experiment.parent / "words_of_old.py")
    text = experiment.read_text()
    experiment.write_text(text.replace("from words import", "from words_of_old import"))
    assert changed_code(before, code(experiment)) == [
        *("from words import *", "from words_of_old import *")
    ]


def test_names_and_modules_that_are_looked_up_by_a_text(tmp_path: Path) -> None:
    (tmp_path / "augment_a.py").write_text("def apply(x):\n    return x\n")
    path = write(
        tmp_path,
        after="import importlib\nHOW = importlib.import_module('augment_' + 'a')\n"
        "def brighter(x):\n    return x + 1\n",
        get_input_pipeline="def get_input_pipeline(folder, training, size, epochs):\n"
        "    import tensorflow as tf\n"
        "    data = tf.data.Dataset.range(4).map(HOW.apply)\n"
        "    return data.map(globals()['bright' + 'er']).batch(size)\n",
    )
    before = code(path)
    path.write_text(path.read_text().replace("x + 1", "x + 2"))
    (tmp_path / "augment_a.py").write_text("def apply(x):\n    return 2 * x\n")
    assert changed_code(before, code(path)) == ["augment_a.py", "brighter"]
    before = code(path)
    path.write_text(path.read_text().replace("return 'sgd'", "return 'adam'"))
    assert changed_code(before, code(path)) == []


@pytest.mark.parametrize(
    ("hparams", "file", "old", "new", "named"),
    [
        ("{'how': augment.flip}", "augment.py", "-x", "2 * x", "augment.py"),
        ("{'how': [lambda x: x + 1]}", SETTINGS, "x + 1", "x + 2", "hparams"),
    ],
)
def test_functions_that_hparams_hold(
    tmp_path: Path, hparams: str, file: str, old: str, new: str, named: str
) -> None:
    (tmp_path / "augment.py").write_text("def flip(x):\n    return -x\n")
    path = write(
        tmp_path,
        before="import augment",
        hparams=hparams,
        nbEpoch="1",
        get_learningRate="def get_learningRate():\n    return 1\n",
    )
    assert changed_by(path, file, old, new) == [named]


def test_the_same_in_another_process(experiment: Path) -> None:
    script = (
        "import sys, json\n"
        "from deeptool.settings import load_settings\n"
        "from deeptool.settings.fingerprint import pipeline_code\n"
        "print(json.dumps(pipeline_code(load_settings(sys.argv[1], seed=False))))\n"
    )
    elsewhere = str(experiment.parent / "elsewhere")
    told = subprocess.run(
        [sys.executable, "-c", script, experiment],
        cwd=experiment.parent.parent,
        env=os.environ | {"PYTHONHASHSEED": "3", "PYTHONPATH": elsewhere},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(told.stdout.splitlines()[-1]) == code(experiment)


def test_the_program_that_loads_the_file_is_no_module_of_it(tmp_path: Path) -> None:
    """multiprocessing, which TensorFlow imports, gives the program a second name."""
    path = write(
        tmp_path, before="import sys\nsys.modules['__mp_main__'] = sys.modules['__main__']"
    )
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from deeptool.settings import load_settings\n"
        "from deeptool.settings.fingerprint import pipeline_code\n"
        "print(*pipeline_code(load_settings(sys.argv[1], seed=False)))\n"
    )
    argv = [sys.executable, program, path]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "get_input_pipeline" in said
    assert "program.py" not in said


def test_code_of_any_depth(tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text("TOTAL = " + " + ".join(["1"] * 2000) + "\n")
    path = write(
        tmp_path,
        get_input_pipeline="def get_input_pipeline(folder, training, size, epochs):\n"
        "    import deep\n",
    )
    assert "file:deep.py" in code(path)
