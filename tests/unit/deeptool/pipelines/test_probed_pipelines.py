"""What a probe says of pipelines of many kinds: two processes read the same, and see an edit."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from settings_files import write
from sklearn.datasets import load_digits

from deeptool.pipelines.pipeline_probe import ProbeReport
from deeptool.settings.pipeline_facts import digests_differ, same_samples

PROBES = Path(__file__).with_name("probed_pipelines.py")


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's text, in which AMOUNT is what is edited.

    Attributes
    ----------
    body : str
        Yields `dataset`.
    before : str
        Stands above the function.
    reproducible : bool
        Whether another process reads the same samples.
    seen : bool
        Whether the samples that a probe reads change with AMOUNT.
    """

    body: str
    before: str = ""
    reproducible: bool = True
    seen: bool = True


RANGE = "dataset = tf.data.Dataset.range(40)"
FLOATS = "dataset = tf.data.Dataset.range(40).map(lambda x: tf.cast(x, tf.float32))"
BATCH = ".batch(4)"
DRAWN = "def drawn(x):\n    return tf.reshape(tf.numpy_function(noisy, [x], tf.float32), [])\n"
PIPELINES = {
    "range": Pipeline(f"{RANGE}.map(lambda x: x * AMOUNT){BATCH}"),
    "shuffle": Pipeline(f"{RANGE}.shuffle(20 + AMOUNT){BATCH}"),
    "shuffle, seeded": Pipeline(f"{RANGE}.shuffle(40, seed=AMOUNT){BATCH}"),
    "shuffle, the same order": Pipeline(
        f"{RANGE}.shuffle(40, seed=AMOUNT, reshuffle_each_iteration=False){BATCH}"
    ),
    "map, in parallel": Pipeline(
        f"{RANGE}.map(lambda x: x + AMOUNT, num_parallel_calls=4, deterministic=False){BATCH}"
    ),
    "tf.random": Pipeline(f"{FLOATS}.map(lambda x: x + tf.random.uniform([]) * AMOUNT){BATCH}"),
    "stateless": Pipeline(
        f"{FLOATS}.map(lambda x: x + tf.random.stateless_uniform([], [1, AMOUNT])){BATCH}"
    ),
    "Generator, seeded": Pipeline(
        f"{FLOATS}.map(lambda x: x + draws.normal([])){BATCH}",
        "draws = tf.random.Generator.from_seed(AMOUNT)",
    ),
    "Generator, global": Pipeline(
        f"{FLOATS}.map(lambda x: x + AMOUNT * tf.random.get_global_generator().normal([])){BATCH}"
    ),
    "numpy_function, np.random": Pipeline(
        f"{FLOATS}.map(drawn){BATCH}",
        DRAWN + "def noisy(x):\n    return np.float32(x + AMOUNT * np.random.rand())",
    ),
    "numpy_function, default_rng": Pipeline(
        f"{FLOATS}.map(drawn){BATCH}",
        DRAWN
        + "rng = np.random.default_rng(AMOUNT)\ndef noisy(x):\n    return np.float32(rng.random())",
    ),
    "numpy_function, entropy": Pipeline(
        f"{FLOATS}.map(drawn){BATCH}",
        DRAWN + "rng = np.random.default_rng()\n"
        "def noisy(x):\n    return np.float32(AMOUNT * rng.random())",
        reproducible=False,
    ),
    "py_function, random": Pipeline(
        f"{FLOATS}.map(lambda x: tf.reshape(tf.py_function(noisy, [x], tf.float32), [])){BATCH}",
        "import random\ndef noisy(x):\n    return x + AMOUNT * random.random()",
    ),
    "system's entropy": Pipeline(
        f"{FLOATS}.map(lambda x: x + AMOUNT * start){BATCH}",
        "import os\nstart = float(os.urandom(1)[0]) + time.time_ns() % 1000",
        reproducible=False,
    ),
    "order of a set": Pipeline(
        f"dataset = tf.data.Dataset.from_tensor_slices([*names, *'x' * AMOUNT]){BATCH}",
        "names = list({str(n) for n in range(20)})",
    ),
    "interleave": Pipeline(
        f"{RANGE}.interleave(lambda x: tf.data.Dataset.from_tensors(x).repeat(AMOUNT), 4){BATCH}"
    ),
    "interleave, any order": Pipeline(
        f"{RANGE}.interleave(lambda x: tf.data.Dataset.from_tensors(x * AMOUNT), 4, 1, 4,"
        f" deterministic=False){BATCH}"
    ),
    "image folder": Pipeline(
        "dataset = keras.utils.image_dataset_from_directory(raw_data_files_folder, image_size="
        "(4 * AMOUNT, 4), color_mode='grayscale', batch_size=4, seed=3, verbose=False)"
    ),
    "Keras layer": Pipeline(
        f"{FLOATS}{BATCH}.map(keras.layers.Rescaling(1.0 / (AMOUNT + 1)))",
    ),
    "Keras layer, random": Pipeline(
        "dataset = tf.data.Dataset.from_tensor_slices(np.random.rand(8, 4, 4, 1)).batch(4)"
        ".map(lambda x: turn(x, training=True))",
        "turn = keras.layers.RandomTranslation(0.2 * AMOUNT, 0.2, seed=5)",
    ),
    "Keras layer, adapted": Pipeline(
        f"{FLOATS}{BATCH}.map(lambda x: norm(x[:, None]))",
        "norm = keras.layers.Normalization()\nnorm.adapt(np.arange(9.0)[:, None] * AMOUNT)",
    ),
    "cache": Pipeline(f"{RANGE}.map(lambda x: x * AMOUNT).cache().shuffle(9, seed=1){BATCH}"),
    "cache, on file": Pipeline(
        f"{RANGE}.map(lambda x: x * AMOUNT).cache(os.path.join(here, 'cache')){BATCH}",
        "import os\nhere = os.path.dirname(os.path.abspath(__file__))",
    ),
    "generator": Pipeline(
        f"dataset = tf.data.Dataset.from_generator(lambda: iter(range(AMOUNT, 30)),"
        f" output_signature=tf.TensorSpec([], tf.int64)){BATCH}"
    ),
    "generator with state": Pipeline(
        f"dataset = tf.data.Dataset.from_generator(Source(), output_signature="
        f"tf.TensorSpec([], tf.int64)){BATCH}",
        "class Source:\n    def __init__(self):\n        self.n = 0\n    def __call__(self):\n"
        "        for _ in range(9):\n            self.n += AMOUNT\n            yield self.n",
    ),
    "sample_from_datasets": Pipeline(
        f"{RANGE}\ndataset = tf.data.Dataset.sample_from_datasets([dataset, dataset.map("
        f"lambda x: -x)], [0.5, 0.5 * AMOUNT], seed=2){BATCH}"
    ),
    "rejection_resample": Pipeline(
        f"{RANGE}.rejection_resample(lambda x: tf.cast(x % 2, tf.int32), [0.2 * AMOUNT, 1 - 0.2"
        f" * AMOUNT], [0.5, 0.5], seed=1).map(lambda c, x: x){BATCH}"
    ),
    "padded_batch": Pipeline(
        f"{RANGE}.map(lambda x: tf.fill([x % 5 + AMOUNT], x)).padded_batch(4)"
    ),
    "ragged": Pipeline(
        "dataset = tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1] * AMOUNT, [2, 3]]"
        " * 8)).ragged_batch(4)"
    ),
    "strings": Pipeline(f"{RANGE}.map(lambda x: tf.strings.as_string(x * AMOUNT)){BATCH}"),
    "buckets": Pipeline(
        f"{RANGE}.map(lambda x: tf.fill([x % 9 + 1], x * AMOUNT)).bucket_by_sequence_length("
        "lambda x: tf.shape(x)[0], [3, 6], [8, 4, 2])"
    ),
    "endless, with a limit": Pipeline(f"{RANGE}.map(lambda x: x * AMOUNT).repeat(){BATCH}"),
    "windows": Pipeline(
        f"{RANGE}.window(5, shift=AMOUNT, drop_remainder=True).flat_map(lambda w: w.batch(5))"
        f"{BATCH}"
    ),
    "zip and enumerate": Pipeline(
        f"{RANGE}\ndataset = tf.data.Dataset.zip(dataset, dataset.skip(AMOUNT)).enumerate()"
        f".map(lambda n, xy: (xy[0] + n, xy[1])){BATCH}"
    ),
    "csv": Pipeline(
        "dataset = tf.data.experimental.make_csv_dataset(os.path.join(here, 'table.csv'), 4,"
        " num_epochs=1, shuffle=False).map(lambda row: row['a'] * AMOUNT)",
        "import os\nhere = os.path.dirname(os.path.abspath(__file__))",
    ),
    "TFRecord": Pipeline(
        f"with tf.io.TFRecordWriter(os.path.join(here, 'r')) as file:\n    for n in range(9):\n"
        f"        file.write(bytes([n, AMOUNT]))\n"
        f"dataset = tf.data.TFRecordDataset(os.path.join(here, 'r')){BATCH}",
        "import os\nhere = os.path.dirname(os.path.abspath(__file__))",
    ),
    "a rare case, late": Pipeline(
        "dataset = tf.data.Dataset.range(4000000).map("
        "lambda x: tf.where(x == 3999999, x * AMOUNT, x)).batch(100)",
        seen=False,
    ),
    "crashes": Pipeline("dataset = 1 / (AMOUNT - AMOUNT)", reproducible=False, seen=False),
}


def settings_of(folder: Path, pipeline: Pipeline, amount: int) -> str:
    images = folder / "raw"
    if not images.exists():
        for place, (image, digit) in enumerate(zip(*load_digits(return_X_y=True), strict=True)):
            if place < 12:
                (images / str(digit % 2)).mkdir(parents=True, exist_ok=True)
                path = images / str(digit % 2) / f"{place}.png"
                matplotlib.image.imsave(path, np.reshape(image, (8, 8)), cmap="gray")
        (folder / "table.csv").write_text("a\n" + "\n".join(map(str, range(20))))
        (folder / "model.py").write_text("def model(usersettings):\n    return None\n")
    text = (
        "import time\nimport keras\nimport numpy as np\nimport tensorflow as tf\n"
        f"AMOUNT = {amount}\n{pipeline.before}\n"
        "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
        f"{textwrap.indent(pipeline.body, '    ')}\n    return dataset\n"
    )
    path = write(
        folder,
        get_input_pipeline=text,
        raw_data_dir_train=repr(str(images)),
        nb_train_samples="36" if "repeat()" in pipeline.body else "0",
        model_file="'model.py'",
        random_seed="7",
    )
    return str(path.rename(path.with_name(f"settings_{amount}.py")))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ProbeReport, ...]]:
    """Per pipeline: the report of one process, of another one, and after an edit."""
    files: list[str] = []
    for pipeline in PIPELINES.values():
        folder = tmp_path_factory.mktemp("pipeline")
        one = settings_of(folder, pipeline, 1)
        files += [one, one, settings_of(folder, pipeline, 2)]
    done = subprocess.run(
        [sys.executable, str(PROBES), *files], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [ProbeReport.from_json(json.loads(line)) for line in done.stdout.splitlines()]
    return {name: tuple(found[3 * place : 3 * place + 3]) for place, name in enumerate(PIPELINES)}


@pytest.mark.parametrize("name", PIPELINES)
def test_what_is_said_of_a_pipeline(name: str, reports: dict[str, tuple[ProbeReport, ...]]) -> None:
    pipeline = PIPELINES[name]
    one, again, edited = (report.facts for report in reports[name])
    assert bool(one.failed) == (name == "crashes"), one.failed
    assert digests_differ(one, again) is not (pipeline.reproducible or bool(one.failed))
    if pipeline.reproducible:
        assert same_samples(one, again) == []
        assert (
            digests_differ(one, edited) == pipeline.seen or one.element_spec != edited.element_spec
        )
    # Whatever the digests say: an edit is never taken for the same samples.
    assert same_samples(one, edited)
