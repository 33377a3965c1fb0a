"""A snapshot's copies run in the place of files that were edited since, under their names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from settings_files import write

from deeptool.errors import UserError
from deeptool.settings import load_settings
from deeptool.settings.code_snapshot import VARIABLE, write_snapshot
from deeptool.settings.fingerprint import user_files

MODEL = (
    "import keras\n"
    "from parts import units\n"
    "def model(usersettings):\n"
    "    inputs = keras.Input((1,))\n"
    "    return keras.Model(inputs, keras.layers.Dense(units.UNITS)(inputs))\n"
)
PIPELINE = """
def get_input_pipeline(folder, training, size, epochs):
    import tensorflow as tf
    import late_helper
    import tools.rows
    def scaled(x):
        if x > 0:
            x = x * top_helper.FACTOR
        return x + late_helper.OFFSET + above.STEP + tools.rows.MORE
    data = tf.data.Dataset.range(int(open('rows.txt').read())).map(scaled)
    return data.batch(size)
"""
FILES = {
    "work/top_helper.py": "FACTOR = 10\ndef fail():\n    raise ValueError('here')\n",
    "work/late_helper.py": "from numpy import int64\nOFFSET = int64(100)\n",
    "work/parts/__init__.py": "from . import units\n",
    "work/parts/units.py": "UNITS = 3\n",
    "work/tools/rows.py": "MORE = 1000\n",
    "lib/above.py": "STEP = 10000\ndef nothing():\n    return 'nothing'\n",
    "work/model.py": MODEL,
    "work/rows.txt": "3",
}
SCRIPT = """
import inspect, sys
from deeptool.settings import load_settings
settings = load_settings(sys.argv[1])
print(*[batch.tolist() for batch in settings.pipeline("train").as_numpy_iterator()])
print(settings.build_model().output_shape[-1])
import above, parts.units, top_helper
print(top_helper.__file__, parts.units.__file__, above.__file__)
print(inspect.getsource(above.nothing).splitlines()[-1].strip())
try:
    settings.get_metrics(None, None)
except Exception as error:
    print(str(error).splitlines()[0])
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return write(
        tmp_path / "work",
        before="import sys\nsys.path.append(__file__.rpartition('/')[0] + '/../lib')\n"
        "import above\nimport top_helper",
        get_input_pipeline=PIPELINE,
        get_metrics="def get_metrics(model, loss):\n    top_helper.fail()\n",
    )


def run(experiment: Path, **environment: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, experiment.name],
        cwd=experiment.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def snapshot(experiment: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(experiment.parent)
    files = user_files(load_settings(experiment))
    write_snapshot(folder, {file: file.read_bytes() for file in files})


def test_the_code_runs_as_it_was(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, work = tmp_path / "snapshot", experiment.parent
    before = run(experiment)
    assert before[:2] == ["[11100, 11110, 11120]", "3"]
    snapshot(experiment, tmp_path / "unmoved", monkeypatch)
    (tmp_path / "unmoved").rename(folder)

    experiment.write_text("1 / 0\n")
    (work / "top_helper.py").write_text("\n\n\nFACTOR = 20\n")
    (work / "late_helper.py").unlink()
    (work / "parts/__init__.py").write_text("1 / 0\n")
    (work / "parts/units.py").write_text("UNITS = 4\n")
    (work / "tools/__init__.py").write_text("1 / 0\n")
    (work / "tools/rows.py").write_text("MORE = 2000\n")
    (work / "model.py").write_text("\n")
    (work / "above.py").write_text("STEP = 50000\n")
    (tmp_path / "lib/above.py").write_text("# another\n\nSTEP = 20000\n")
    for cached in list(tmp_path.rglob("*.pyc")):
        cached.unlink()

    assert run(experiment, **{VARIABLE: str(folder)}) == before
    assert before[-2:] == ["return 'nothing'", "top_helper.py:3: ValueError: here"]
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_folder_that_is_no_snapshot(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=VARIABLE) as caught:
        load_settings(experiment)
    assert caught.value.seen == str(tmp_path)
