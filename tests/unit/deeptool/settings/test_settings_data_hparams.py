"""Which hparams the stored samples depend on: looked up, behind names, or said by the file."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from settings_files import write

from deeptool.errors import UserError
from deeptool.settings import Settings, load_settings

HPARAMS = "{'procID': 0, 'a': 1, 'b': 2, 'c': 3, 'nbEpoch': 1, 'learning_rate': 0.1}"
ALL = {"procID", "a", "b", "c", "nbEpoch", "learning_rate"}


def pipeline(body: str, before: str = "") -> str:
    """The text of a get_input_pipeline that does `body` and yields numbers 0 to 3."""
    return (
        textwrap.dedent(before)
        + "\nimport tensorflow as tf\n"
        + "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
        + textwrap.indent(textwrap.dedent(body).strip("\n") or "pass", "    ")
        + "\n    return tf.data.Dataset.range(4).batch(batch_size)\n"
    )


def load(folder: Path, body: str = "", before: str = "", **names: Any) -> Settings:
    names = {"hparams": HPARAMS, **names}
    path = write(folder, **{"get_input_pipeline": pipeline(body, before), **names})
    return load_settings(path, seed=False)


def static(folder: Path, body: str = "", before: str = "", **names: Any) -> set[str]:
    """What is known before the pipeline is built."""
    return set(load(folder, body, before, **names).data_hparams())


def test_nothing_looked_up_is_nothing(tmp_path: Path) -> None:
    settings = load(tmp_path)
    for _ in settings.pipeline("train"):
        pass
    assert settings.data_hparams() == {}


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ("hparams['a']", "a"),
        ("hparams.get('b')", "b"),
        ("'c' in hparams", "c"),
        ("if False:\n    hparams['a']", "a"),
        ("f = lambda x: x + hparams['a']", "a"),
        ("def inner():\n    return [hparams['b'] for _ in range(3)]", "b"),
        ("hparams['x'] = 3", ""),
        ("hparams = {'a': 1}\nhparams['a']", ""),
        ("f = lambda hparams: hparams['a']", ""),
        ("def f(hparams, x=hparams['b']):\n    return hparams['a']", "b"),
        ("nbEpoch, batch_size = nbEpoch + 1, batch_size", ""),
    ],
)
def test_lookups_in_the_pipelines_text(tmp_path: Path, body: str, keys: str) -> None:
    assert static(tmp_path, body) == set(keys)


@pytest.mark.parametrize(
    ("body", "before", "keys"),
    [
        ("size", "size = hparams['a']", "a"),
        ("shape", "size = hparams['a']\nshape = (size, size)", "a"),
        ("shape", "size = hparams['a']\nshape = [hparams['b'] for _ in range(size)]", "ab"),
        ("size, rate", "size = 3\nrate = hparams['learning_rate'] = 2", ""),
        ("load()", "def load():\n    return size\nsize = hparams['a']", "a"),
        ("load()", "def load():\n    return deeper()\ndef deeper():\n    return hparams['b']", "b"),
        ("Loader().load()", "class Loader:\n    def load(self):\n        hparams['a']", "a"),
        ("Loader.size", "class Loader:\n    size = hparams['a']", "a"),
        ("loader", "class Loader:\n    x = hparams['a']\nloader = Loader()", "a"),
        ("size", "def look():\n    return hparams['a']\nsize = look()", "a"),
        ("size", "look = lambda key: hparams[key]\nsize = look('b')", "b"),
        ("size", "size = 1\nif hparams['a'] > 5:\n    size = 2", "a"),
        ("size", "size = 1\nsize = hparams['a']", "a"),
        ("size", "size = 1\nsize += hparams['a']", "a"),
        ("size", "size, other = hparams['a'], hparams['b']", "ab"),
        ("size", "(size := hparams['a'])", "a"),
        ("config", "config = {}\nconfig['size'] = hparams['a']", "a"),
        ("config", "config = {'in': {}}\nconfig['in']['size'] = hparams['a']", "a"),
        ("sizes", "sizes = []\nsizes.append(hparams['a'])", "a"),
        ("sizes", "sizes = []\nfor _ in range(2):\n    sizes.append(hparams['a'])", "a"),
        ("box", "class Box:\n    pass\nbox = Box()\nbox.size = hparams['a']", "a"),
        (
            "config",
            "config = {}\ndef fill(target):\n    target['x'] = hparams['a']\nfill(config)",
            "a",
        ),
        ("config", "config = {}\ndef fill():\n    config['x'] = hparams['b']\nfill()", "b"),
        (
            "size",
            "size = None\ndef setup():\n    global size\n    size = hparams['a']\nsetup()",
            "a",
        ),
        ("size", "globals()['size'] = hparams['a']", "a"),
        ("a", "locals().update({k: v for k, v in hparams.items() if k == 'a'})", "*"),
        ("size", "other = hparams\nsize = other['a']", "a"),
        ("other['b']", "other = hparams", "b"),
        ("with_default()", "def with_default(x=hparams['c']):\n    return x", "c"),
        ("", "size = hparams['a']\nprint(hparams)", ""),
        ("np.zeros(3)", "import numpy as np\nnp.random.seed(hparams['a'])", "a"),
        ("log.info('x')", "import logging\nlog = logging.getLogger()\nlog.info(hparams['a'])", ""),
        ("folder", "folder = 'x'\nprint(folder, hparams['a'])", ""),
        ("files", "import random\nfiles = [1]\nrandom.shuffle(files[:hparams['a']])", "a"),
    ],
)
def test_keys_behind_top_level_names(tmp_path: Path, body: str, before: str, keys: str) -> None:
    assert static(tmp_path, body, before) == (ALL if keys == "*" else set(keys))


CONFIG = """class Config:
    factor = 1
    @classmethod
    def put(cls, x):
        cls.factor = x
"""


@pytest.mark.parametrize(
    ("body", "before"),
    [
        # Classes and functions hold state, too.
        ("Config.factor", CONFIG + "Config.factor = hparams['a']"),
        ("Config.factor", CONFIG + "setattr(Config, 'factor', hparams['a'])"),
        ("Config.factor", CONFIG + "type.__setattr__(Config, 'factor', hparams['a'])"),
        ("Config.factor", CONFIG + "Config.put(hparams['a'])"),
        ("Config.factor", CONFIG + "_ = Config.put(hparams['a'])"),
        ("Config.factor", CONFIG + "Other = Config\nOther.factor = hparams['a']"),
        ("Config.factor", CONFIG + "configs = [Config]\nconfigs[0].factor = hparams['a']"),
        ("Config.factor", CONFIG + "for n in ('factor',):\n    setattr(Config, n, hparams['a'])"),
        ("Config.factor", CONFIG + "def put(t, x):\n    t.factor = x\nput(Config, hparams['a'])"),
        ("Config.factor", CONFIG + "a = hparams['a']\nif a:\n    Config.factor = a"),
        ("Config().factor", CONFIG + "class Base(Config):\n    pass\nConfig.factor = hparams['a']"),
        ("Sub.factor", CONFIG + "class Sub(Config):\n    pass\nConfig.factor = hparams['a']"),
        ("use()", "def use():\n    return use.factor\nuse.factor = hparams['a']"),
        ("use()", "def use():\n    return 1\nvars(use)['factor'] = hparams['a']"),
        ("use()", "def use():\n    return 1\nuse.__dict__['factor'] = hparams['a']"),
        ("use()", "def use():\n    return 1\nuse.__dict__.update(factor=hparams['a'])"),
        ("use()", "def use(x=[1]):\n    return x\nuse.__defaults__[0].append(hparams['a'])"),
        ("box.x", "from types import SimpleNamespace as S\nbox = S(x=1)\nbox.x = hparams['a']"),
        ("box.x", "from types import SimpleNamespace as S\nbox = S(x=hparams['a'])"),
        ("Kind.x.value", "import enum\nclass Kind(enum.Enum):\n    x = hparams['a']"),
        (
            "c.x",
            "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: int\nc = C(hparams['a'])",
        ),
        ("f()", "import functools\nf = functools.partial(int, hparams['a'])"),
        ("f()", "def make(x):\n    return lambda: x\nf = make(hparams['a'])"),
        # The process and other packages.
        ("import os", "import os\nos.environ['FACTOR'] = str(hparams['a'])"),
        ("import os", "from os import environ as e\ne['FACTOR'] = str(hparams['a'])"),
        ("import os", "import os\nos.environ.update(FACTOR=str(hparams['a']))"),
        ("import os", "import os\nos.putenv('FACTOR', str(hparams['a']))"),
        ("import os", "import os\na = str(hparams['a'])\nos.environ['FACTOR'] = a"),
        ("import os", "import os\ndef put(x):\n    os.environ['F'] = x\nput(str(hparams['a']))"),
        ("1", "import keras\nkeras.config.set_epsilon(1e-7 * hparams['a'])"),
        ("1", "from keras.config import set_epsilon\nset_epsilon(1e-7 * hparams['a'])"),
        ("1", "import random\nrandom.seed(hparams['a'])"),
        ("1", "import decimal\ndecimal.getcontext().prec = hparams['a']"),
        ("1", "import putting_helper\nputting_helper.put(hparams['a'])"),
        ("1", "import colorsys\ncolorsys.ONE_THIRD = hparams['a'] / 3"),
        ("1", "import json\njson.dump(hparams['a'], open('config.json', 'w'))"),
        ("1", "from pathlib import Path\nPath('config.txt').write_text(str(hparams['a']))"),
        ("v.get()", "import contextvars\nv = contextvars.ContextVar('v')\nv.set(hparams['a'])"),
    ],
)
def test_ways_on_which_hparams_reach_the_pipeline_unseen(
    tmp_path: Path, body: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "putting_helper.py").write_text(
        "import os\ndef put(x):\n    os.environ['F'] = str(x)\n"
    )
    monkeypatch.setenv("FACTOR", "1")
    monkeypatch.setenv("F", "1")
    assert static(tmp_path, body, before) == {"a"}


@pytest.mark.parametrize(
    "before",
    [
        CONFIG + "Config.factor = hparams['a']",
        "class C:\n    def __init__(self, x):\n        self.x = x\nc = C(hparams['a'])",
        "import logging\nlogging.info(hparams['a'])",
        "import warnings\nwarnings.warn(str(hparams['a']))",
        "import matplotlib.pyplot as plt\nplt.rcParams['font.size'] = hparams['a']",
        "import os\nos.makedirs(f\"runs/{hparams['a']}\", exist_ok=True)",
        "from pathlib import Path\nPath(str(hparams['a'])).mkdir()",
        "def show(x):\n    print(scale, x)\nshow(hparams['a'])",
        "def check(x):\n    found = {}\n    found['x'] = x\n    return found\ncheck(hparams['a'])",
        "import math\nrate = math.sqrt(hparams['a'])",
    ],
)
def test_what_never_reaches_the_pipeline_is_free(
    tmp_path: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scale = "def scale(x):\n    return x\n"
    assert static(tmp_path, "scale(1)", scale + before) == set()


def test_what_a_trial_tunes_does_not_count(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "size",
        "size = hparams['a']\nrate = hparams['learning_rate']\n"
        "def get_online_pipeline(dataset, isTraining):\n"
        "    return dataset.map(lambda x: x * hparams['b'])\n",
        batch_size="hparams['c']",
        steps_per_epoch="hparams['b']",
        get_learningRate="def get_learningRate():\n    return hparams['learning_rate']\n",
    )
    batches = [batch.tolist() for batch in _numbers(settings, "train")]
    assert batches == [[0, 1, 2], [3]]
    online = settings.online(settings.pipeline("train"), True)
    assert [batch.tolist() for batch in online.as_numpy_iterator()] == [[0, 2, 4], [6]]
    assert settings.get_learningRate() == 0.1
    assert settings.data_hparams() == {"a": 1}


def _numbers(settings: Settings, split: str) -> list[Any]:
    return list(settings.pipeline(split).as_numpy_iterator())


@pytest.mark.parametrize("name", ["raw_data_dir_train", "raw_data_dir_val", "nb_train_samples"])
def test_what_the_pipeline_is_given_counts(tmp_path: Path, name: str) -> None:
    value = "hparams['a']" if name == "nb_train_samples" else "f\"folder/{hparams['a']}\""
    assert static(tmp_path, **{name: value}) == {"a"}


@pytest.mark.parametrize(
    ("body", "before"),
    [
        ("use(hparams)", "from json import dumps as use"),
        ("tf.constant(hparams)", ""),
        ("f = 3\nf.g(hparams)", ""),
        ("tf.nothing.at.all(x=hparams)", ""),
        ("tf.constant(**hparams)", ""),
        ("print(*hparams)", ""),
        ("f = (lambda: 3)\nf()(hparams)", ""),
        ("config", "import json\nconfig = json.loads(json.dumps(hparams))"),
        ("keys", "keys = sorted(hparams)"),
    ],
)
def test_hparams_handed_to_what_is_out_of_sight_is_every_key(
    tmp_path: Path, body: str, before: str
) -> None:
    assert static(tmp_path, body, before) == ALL


@pytest.mark.parametrize(
    ("body", "before", "keys"),
    [
        ("use(hparams)", "def use(given):\n    return given['a']", "a"),
        ("def use(given):\n    return given['b']\nuse(hparams)", "", "b"),
        ("Loader(hparams)", "class Loader:\n    def __init__(self, h):\n        h['c']", "c"),
        ("helper_file.use(hparams)", "import helper_file", "b"),
        ("use(hparams)", "from helper_file import use", "b"),
        ("for key in ('a', 'c'):\n    hparams[key]", "", "ac"),
        ("given = hparams\ngiven['a']", "", "a"),
    ],
)
def test_lookups_while_the_pipeline_is_built(
    tmp_path: Path, body: str, before: str, keys: str
) -> None:
    (tmp_path / "helper_file.py").write_text("def use(given):\n    return given['b']\n")
    settings = load(tmp_path, body, before)
    assert settings.data_hparams() == {}
    assert len(_numbers(settings, "train")) == 1
    assert set(settings.data_hparams()) == set(keys)


def test_lookups_while_the_pipeline_is_read_in_other_threads(tmp_path: Path) -> None:
    before = (
        "import tensorflow as tf\n"
        "def look(given, key):\n    return given[key]\n"
        "def slow(x):\n    return x + look(hparams, 'b')\n"
    )
    function = (
        "def get_input_pipeline(folder, training, size, epochs):\n"
        "    dataset = tf.data.Dataset.range(4).batch(size)\n"
        "    return dataset.map(lambda x: tf.numpy_function(slow, [x], tf.int64), 4)\n"
    )
    settings = load(tmp_path, get_input_pipeline=before + function)
    dataset = settings.pipeline("train")
    assert settings.data_hparams() == {}
    assert [batch.tolist() for batch in dataset.as_numpy_iterator()] == [[2, 3, 4, 5]]
    assert settings.data_hparams() == {"b": 2}


def test_values_are_those_overridden(tmp_path: Path) -> None:
    path = write(tmp_path, hparams=HPARAMS, get_input_pipeline=pipeline("hparams['a']"))
    settings = load_settings(path, hparams={"a": "7"}, proc_id=3, seed=False)
    assert settings.data_hparams() == {"a": 7}


def test_proc_id_counts_if_looked_up(tmp_path: Path) -> None:
    assert static(tmp_path, "hparams['procID']") == {"procID"}
    path = write(tmp_path, hparams=HPARAMS, get_input_pipeline=pipeline("hparams['a']"))
    settings = load_settings(path, proc_id=1, num_procs=2, seed=False)
    assert settings.data_hparams() == {"a": 1}
    body = "hparams.get('procID'), hparams.get('num_procs', 1)"
    path = write(tmp_path, hparams=HPARAMS, get_input_pipeline=pipeline(body))
    settings = load_settings(path, proc_id=1, num_procs=2, seed=False)
    assert settings.data_hparams() == {"procID": 1, "num_procs": 2}


def test_iterating_while_reading_counts_every_key(tmp_path: Path) -> None:
    settings = load(tmp_path, "for key in list(iter(hparams)):\n    pass")
    settings.pipeline("train")
    assert set(settings.data_hparams()) == ALL


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_model_and_the_rest_do_not_count(tmp_path: Path, split: str) -> None:
    (tmp_path / "model.py").write_text(
        "import keras\n"
        "def model(usersettings):\n"
        "    usersettings.hparams['c'], dict(usersettings.hparams)\n"
        "    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])\n"
    )
    settings = load(tmp_path, "hparams['a']")
    settings.pipeline(split)
    settings.build_model()
    settings.get_learningRate()
    dict(settings.hparams)
    settings.summary()
    assert settings.data_hparams() == {"a": 1}


def test_the_file_has_the_last_word(tmp_path: Path) -> None:
    settings = load(tmp_path, "dict(hparams)", "data_hparams = ['b', 'c', 'num_procs']")
    settings.pipeline("train")
    assert settings.data_hparams() == {"b": 2, "c": 3}
    assert load(tmp_path, "hparams['a']", "data_hparams = []").data_hparams() == {}
    with pytest.raises(UserError, match="data_hparams") as caught:
        load(tmp_path, before="data_hparams = ['a', 'size']")
    assert caught.value.seen == "size"
    assert "learning_rate" in str(caught.value.valid)


def test_imported_hparams_are_all_in_doubt(tmp_path: Path) -> None:
    (tmp_path / "base_settings.py").write_text(f"hparams = {HPARAMS}\nsize = hparams['a']\n")
    assert (
        static(
            tmp_path,
            "size",
            "from base_settings import size",
            hparams="hparams",
            workingFolder="__import__('os').sep\nfrom base_settings import hparams",
        )
        == ALL
    )


@pytest.mark.parametrize(
    ("body", "before"),
    [
        ("state_helper.size", "import state_helper\nstate_helper.size = hparams['a']"),
        ("get()", "from state_helper import get, set_size\nset_size(hparams['a'])"),
        ("state_helper.get()", "import state_helper\nstate_helper.set_size(hparams['a'])"),
    ],
)
def test_state_kept_by_a_helper(tmp_path: Path, body: str, before: str) -> None:
    (tmp_path / "state_helper.py").write_text(
        "size = 0\n"
        "def set_size(value):\n    global size\n    size = value\n"
        "def get():\n    return size\n"
    )
    assert static(tmp_path, body, before) == {"a"}


def test_a_partial_as_the_pipeline(tmp_path: Path) -> None:
    function = (
        "import functools\n"
        "def make(size, raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
        "    import tensorflow as tf\n"
        "    return tf.data.Dataset.range(size).batch(batch_size)\n"
        "get_input_pipeline = functools.partial(make, hparams['b'])\n"
    )
    settings = load(tmp_path, get_input_pipeline=function)
    assert settings.data_hparams() == {"b": 2}
    assert [batch.tolist() for batch in _numbers(settings, "val")] == [[0, 1]]
