"""The batches of a trial: of exactly one size, padded, or of single samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import settings_files
import tensorflow as tf
from click.testing import CliRunner

from deeptool import TrialResult, kafka_dataset, train, upload
from deeptool.commands.produce import command as produce
from deeptool.commands.train import command as train_command
from deeptool.errors import UserError
from deeptool.settings import load_settings

pytestmark = pytest.mark.broker

HPARAMS = {"batch": 8, "samples": 44, "val": 20, "epochs": 2, "steps": 0, "drop": None, "pad": None}
NAMES = {
    "hparams": repr(HPARAMS),
    "model_file": "'net.py'",
    "nbEpoch": "hparams['epochs']",
    "nb_train_samples": "hparams['samples']",
    "nb_val_samples": "hparams['val']",
    "steps_per_epoch": "hparams['steps']",
    "batch_size": "hparams['batch']",
    "get_learningRate": "def get_learningRate():\n    return 0.01\n",
    "get_metrics": "def get_metrics(model, loss):\n    return []\n",
}
ASKED = """
drop_remainder = hparams['drop']
padding_value = hparams['pad']
used_gpu_IDs = []
data_hparams = ['samples', 'val']
"""
PIPELINE = """
def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import numpy as np
    import tensorflow as tf

    x = np.arange(500, dtype=np.float32).reshape(100, 5, 1) / 500
    return tf.data.Dataset.from_tensor_slices((x, x[:, 0])).repeat()"""
EXACT = f"{PIPELINE}.batch(batch_size, drop_remainder=True)\n"
FREE = f"{PIPELINE}.batch(batch_size)\n"
STATEFUL = """
import keras
import numpy as np


def model(usersettings):
    x = keras.Input(batch_shape=(usersettings.batch_size, 5, 1))
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.LSTM(2, stateful=True)(x)))
"""
# Fixed to a size, and yet it takes any.
CONVOLVED = STATEFUL.replace(
    "keras.layers.LSTM(2, stateful=True)(x)",
    "keras.layers.Flatten()(keras.layers.BatchNormalization()(keras.layers.Conv1D(2, 3)(x)))",
)
RESHAPED = STATEFUL.replace(
    "keras.layers.LSTM(2, stateful=True)(x)",
    "keras.ops.reshape(keras.ops.reshape(x, (-1,)), (usersettings.batch_size, 5))",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def case(folder: Path, session: str, pipeline: str, model: str, more: str = "") -> Path:
    (folder / "net.py").write_text(model)
    names = {**NAMES, "session_name": repr(session), "get_input_pipeline": pipeline}
    return settings_files.write(folder, after=ASKED + more, **names)


def store(broker: str, file: Path, *more: str) -> None:
    arguments = ["-u", str(file), "-s", broker, "--split", "both", *more]
    outcome = CliRunner().invoke(produce, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output


class Told(keras.callbacks.Callback):
    """What callbacks are told of steps, and how many there were."""

    def __init__(self, train_samples: Any, val_samples: Any) -> None:
        super().__init__()
        self.data = (train_samples, val_samples)
        self.steps: list[tuple[int | None, int]] = []
        self.sizes: set[int] = set()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.seen = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.steps.append((self.params["steps"], self.seen))

    @property
    def cardinalities(self) -> tuple[int, int]:
        train, val = (int(data.cardinality()) for data in self.data)
        return train, val


def run(file: Path, broker: str | None, **hparams: Any) -> tuple[Told, TrialResult]:
    settings = load_settings(file, hparams=hparams)
    found: list[Told] = []

    def addon(model: Any, train_samples: Any, val_samples: Any) -> list[Told]:
        found.append(Told(train_samples, val_samples))
        sizes = found[0].sizes
        step = model.train_step

        def counted(batch: Any) -> Any:
            first = tf.nest.flatten(batch)[0]
            rows = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first)[0]
            tf.numpy_function(lambda size: sizes.add(int(size)), [rows], [])
            return step(batch)

        model.train_step = counted
        return found

    settings.addon_callbacks = addon
    result = train(settings, kafka=broker is not None, servers=broker)
    return found[0], result


def rejected(file: Path, broker: str, **hparams: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        train(file, hparams=hparams, kafka=True, servers=broker)
    assert not list(Path("experiments").glob("test/*")), "it had begun"
    return caught.value


# ---- of exactly one size ----


@pytest.mark.parametrize("batch", [pytest.param(8, marks=pytest.mark.soak), 16])
def test_a_model_of_a_fixed_batch_size_gets_batches_of_that_size(
    folder: Path, session_name: str, broker: str, batch: int
) -> None:
    file = case(folder, session_name, EXACT, STATEFUL)
    store(broker, file)
    told, result = run(file, broker, batch=batch)
    whole, val = 44 // batch, 20 // batch
    assert told.sizes == {batch}
    assert told.steps == [(whole, whole)] * 2
    assert told.cardinalities == (whole, val)
    assert result.usage.samples_read == 2 * (44 + 20)
    notes = [note for note in result.notes if "left out" in note]
    assert notes == [
        f"train: {44 % batch} of 44 samples are left out of each epoch: batches have exactly "
        f"{batch} (drop_remainder)",
        f"val: {20 % batch} of 20 samples are left out of each epoch: batches have exactly "
        f"{batch} (drop_remainder)",
    ]


def test_steps_go_through_whole_batches(folder: Path, session_name: str, broker: str) -> None:
    file = case(folder, session_name, EXACT, STATEFUL)
    store(broker, file)
    told, _ = run(file, broker, steps=7, epochs=3)
    assert told.sizes == {8}
    assert told.steps == [(7, 7)] * 3


def test_stored_epochs_and_shards_have_whole_batches(
    folder: Path, session_name: str, broker: str
) -> None:
    file = case(folder, session_name, EXACT, STATEFUL)
    for number in range(2):
        store(broker, file, "-pid", str(number), "--num-procs", "2", "-e", "2")
    told, result = run(file, broker, epochs=3)
    # 22 samples of either shard: batches are made across them.
    assert told.sizes == {8}
    assert told.steps == [(5, 5)] * 3
    assert "train: 8 of 88 samples are left out of 2 stored epochs" in " ".join(result.notes)


def test_nothing_is_said_where_nothing_is_left_out(
    folder: Path, session_name: str, broker: str
) -> None:
    file = case(folder, session_name, EXACT, STATEFUL)
    store(broker, file, "--hparam", "samples=40", "--hparam", "val=16")
    told, result = run(file, broker, samples=40, val=16)
    assert told.steps == [(5, 5)] * 2
    assert not any("left out" in note for note in result.notes)


@pytest.mark.parametrize("model", [STATEFUL, RESHAPED])
def test_a_model_that_takes_one_size_only_is_rejected_where_others_come(
    folder: Path, session_name: str, broker: str, model: str
) -> None:
    file = case(folder, session_name, FREE, model)
    store(broker, file)
    error = rejected(file, broker)
    assert "the model takes batches of one size only" in str(error)
    assert "drop_remainder = True" in str(error)
    told, result = run(file, broker, drop="True")
    assert told.sizes == {8}
    assert "4 of 44 samples are left out" in " ".join(result.notes)


def test_without_kafka_it_is_rejected_too(folder: Path, session_name: str) -> None:
    file = case(folder, session_name, FREE.replace(".repeat()", ""), STATEFUL)
    with pytest.raises(UserError, match="batches of one size only") as caught:
        train(file)
    assert "drop_remainder=True in get_input_pipeline" in str(caught.value)
    told, _ = run(case(folder, session_name, EXACT.replace(".repeat()", ""), STATEFUL), None)
    assert told.steps == [(12, 12)] * 2


def test_the_command_asks_for_whole_batches(folder: Path, session_name: str, broker: str) -> None:
    file = case(folder, session_name, FREE, STATEFUL)
    store(broker, file)
    arguments = ["-u", str(file), "--kafka", "-s", broker, "-q"]
    outcome = CliRunner().invoke(train_command, [*arguments, "--drop-remainder"])
    assert outcome.exit_code == 0, outcome.output
    rejected = CliRunner().invoke(train_command, [*arguments, "--keep-remainder"])
    assert isinstance(rejected.exception, UserError)
    assert "--drop-remainder" in str(rejected.exception)


def test_a_fixed_size_that_the_model_does_not_need_is_no_reason(
    folder: Path, session_name: str, broker: str
) -> None:
    """As Keras itself: layers that take any batch take the last one."""
    file = case(folder, session_name, FREE, CONVOLVED)
    store(broker, file)
    told, _ = run(file, broker)
    assert told.sizes == {8, 4}
    assert told.steps == [(6, 6)] * 2


def test_a_set_that_is_smaller_than_a_batch_is_rejected(
    folder: Path, session_name: str, broker: str
) -> None:
    file = case(folder, session_name, EXACT, STATEFUL)
    store(broker, file, "--hparam", "val=6")
    error = rejected(file, broker, val="6")
    assert "leaves no batch" in str(error)
    assert "6 samples of" in str(error)
    assert "split 'val'" in str(error)
    assert "at least 8" in str(error)


def test_a_trial_during_the_upload_gets_whole_batches(
    folder: Path, session_name: str, broker: str
) -> None:
    file = case(folder, session_name, EXACT, STATEFUL)
    store(broker, file)
    result = train(file, kafka=True, servers=broker, online=True)
    assert "4 of 44 samples are left out" in " ".join(result.notes)


SIZED = """
def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import numpy as np
    import tensorflow as tf

    passes.append(isTraining)
    rows = 44 - 7 * sum(passes) if isTraining else 20
    x = np.random.default_rng(rows).normal(size=(rows, 5, 1)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, x[:, 0])).batch(batch_size, drop_remainder=True)


passes = []
"""


@pytest.mark.parametrize("steps", [pytest.param(0, marks=pytest.mark.soak), 7])
def test_a_trial_resumes_at_the_batch_where_it_ended(
    folder: Path,
    session_name: str,
    broker: str,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In shuffled passes that differ in length, each with samples left out."""
    monkeypatch.setattr("deeptool.training.callbacks.WRITING", math.inf)
    file = case(folder, session_name, SIZED, CONVOLVED)
    store(broker, file, "-e", "2", "--hparam", "samples=0", "--hparam", "val=0")
    hparams = {"samples": 0, "val": 0, "epochs": 5, "steps": steps, "batch": 4}
    whole = train(file, hparams=hparams, kafka=True, servers=broker)
    half = load_settings(file, hparams=hparams)

    def fail(epoch: int, logs: Any) -> None:
        if epoch == 3:
            raise OSError("pulled the plug")

    half.addon_callbacks = lambda *given: [keras.callbacks.LambdaCallback(on_epoch_begin=fail)]
    with pytest.raises(OSError, match="plug"):
        train(half, kafka=True, servers=broker, session_dir="half")
    resumed = train(restart_from="half")
    assert resumed.final == pytest.approx(whole.final, rel=1e-5)
    # With steps, more are read than trained on, and never the same number of them.
    assert resumed.usage.samples_read >= (5 * steps * 4 or whole.usage.samples_read)


# ---- padded ----

WINDOWS = """
def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import numpy as np
    import tensorflow as tf

    series = np.random.default_rng(5).normal(size=(60, 3)).astype("float32")
    return tf.keras.utils.timeseries_dataset_from_array(
        series[:-10], series[10:, :1], sequence_length=10, batch_size=batch_size)
"""
RECURRENT = """
import keras
import numpy as np


def model(usersettings):
    x = keras.Input((None, 3))
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.LSTM(2)(x)))
"""


def test_windows_are_searched_over_with_other_batch_sizes(
    folder: Path, session_name: str, broker: str
) -> None:
    file = case(folder, session_name, WINDOWS, RECURRENT)
    none = ["--hparam", "samples=0", "--hparam", "val=0"]
    store(broker, file, *none)
    # 41 windows, all of one length.
    for batch, sizes in ((8, {8, 1}), (16, {16, 9}), (5, {5, 1})):
        told, _ = run(file, broker, samples=0, val=0, batch=batch)
        steps = -(-41 // batch)
        assert told.steps == [(steps, steps)] * 2
        assert told.cardinalities == (steps, steps)
        assert told.sizes == sizes


SENTENCES = """
def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import numpy as np
    import tensorflow as tf

    def sentences():
        for number in range(41):
            yield np.full((1 + number % 7, 3), 1 / (1 + number), "float32"), np.float32([number])

    signature = (tf.TensorSpec([None, 3]), tf.TensorSpec([1]))
    dataset = tf.data.Dataset.from_generator(sentences, output_signature=signature)
    return dataset.padded_batch(batch_size)
"""


def test_sentences_are_padded(folder: Path, session_name: str, broker: str) -> None:
    file = case(folder, session_name, SENTENCES, RECURRENT)
    none = ["--hparam", "samples=0", "--hparam", "val=0"]
    store(broker, file, *none)
    told, _ = run(file, broker, samples=0, val=0)
    assert told.steps == [(6, 6)] * 2
    error = rejected_later(file, broker, samples=0, val=0, batch=16)
    assert "padding_value = 0 in a settings file" in str(error)
    assert "--padding-value 0" in str(error)
    told, _ = run(file, broker, samples=0, val=0, batch=16, pad=0)
    assert told.steps == [(3, 3)] * 2
    assert told.cardinalities == (3, 3)
    assert told.sizes == {16, 9}
    arguments = ["-u", str(file), "--kafka", "-s", broker, "-q", *none, "--hparam", "batch=5"]
    outcome = CliRunner().invoke(train_command, [*arguments, "--padding-value", "0"])
    assert outcome.exit_code == 0, outcome.output


def rejected_later(file: Path, broker: str, **hparams: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        train(file, hparams=hparams, kafka=True, servers=broker)
    return caught.value


def test_a_padding_value_of_another_type_is_rejected(
    folder: Path, session_name: str, broker: str
) -> None:
    file = case(folder, session_name, SENTENCES, RECURRENT)
    store(broker, file, "--hparam", "samples=0", "--hparam", "val=0")
    error = rejected(file, broker, samples=0, val=0, pad="none")
    assert "padding_value is of another type than component '0'" in str(error)


# ---- single samples ----

GRAPHS = """
batched = False


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import numpy as np
    import tensorflow as tf

    def graphs():
        for number in range(44):
            nodes = 2 + number % 5
            x = np.full((nodes, 3), number / 44, "float32")
            yield {"edges": np.eye(nodes, dtype="float32"), "nodes": x}, np.float32([number / 44])

    signature = (
        {"edges": tf.TensorSpec([None, None]), "nodes": tf.TensorSpec([None, 3])},
        tf.TensorSpec([1]),
    )
    return tf.data.Dataset.from_generator(graphs, output_signature=signature)
"""
CONVOLUTION = """
import keras
import numpy as np


def model(usersettings):
    nodes, edges = keras.Input((None, 3), name="nodes"), keras.Input((None, None), name="edges")
    h = keras.layers.Dense(2)(keras.ops.matmul(edges, nodes))
    y = keras.layers.Dense(1)(keras.ops.mean(h, axis=1))
    return keras.Model({"nodes": nodes, "edges": edges}, y)
"""


@pytest.mark.parametrize("kafka", [True, False])
@pytest.mark.parametrize(("batch", "drop"), [(8, "False"), (16, "True")])
def test_graphs_are_batched_by_the_trial(
    folder: Path, session_name: str, broker: str, kafka: bool, batch: int, drop: str
) -> None:
    file = case(folder, session_name, "", CONVOLUTION, GRAPHS)
    if kafka:
        store(broker, file)
    steps = 44 // batch if drop == "True" else -(-44 // batch)
    told, result = run(file, broker if kafka else None, batch=batch, pad=0, drop=drop)
    assert told.sizes == ({batch} if drop == "True" else {batch, 44 % batch})
    assert [seen for _, seen in told.steps] == [steps] * 2
    if kafka:
        assert told.steps == [(steps, steps)] * 2
        assert result.usage.samples_read == 2 * (44 + 20)
        assert "left out" in " ".join(result.notes) or drop == "False"
        error = rejected_later(file, broker, pad=None)
        assert "without a padding_value" in str(error)


def test_single_samples_without_kafka_are_left_out_too(folder: Path, session_name: str) -> None:
    rows = PIPELINE.replace(".repeat()", "") + ".take(20 if isTraining else 10)\n"
    model = RECURRENT.replace("(None, 3)", "(5, 1)")
    file = case(folder, session_name, rows, model, "batched = False\n")
    told, result = run(file, None, drop="True")
    assert told.steps == [(2, 2)] * 2
    assert told.cardinalities == (2, 1)
    assert "train: 4 of 20 samples are left out of each epoch" in " ".join(result.notes)
    with pytest.raises(UserError, match="leaves no batch") as caught:
        train(file, hparams={"batch": 16}, drop_remainder=True)
    assert "10 samples, split 'val'" in str(caught.value)
    with pytest.raises(UserError, match="cannot fill up anything"):
        train(file, padding_value=[0])  # type: ignore[arg-type]


def test_a_pipeline_that_yields_all_at_once(folder: Path, session_name: str, broker: str) -> None:
    """Its element_spec has a size, but it is not that of a batch."""
    whole = PIPELINE.replace("from_tensor_slices", "from_tensors").replace(".repeat()", "") + "\n"
    file = case(folder, session_name, whole, RECURRENT.replace("(None, 3)", "(5, 1)"))
    store(broker, file)
    told, result = run(file, broker)
    assert told.steps == [(6, 6)] * 2
    assert not any("left out" in note for note in result.notes)


def test_the_command_stores_single_samples(folder: Path, session_name: str, broker: str) -> None:
    rows = PIPELINE + "\n"
    file = case(folder, session_name, rows, RECURRENT.replace("(None, 3)", "(5, 1)"))
    outcome = CliRunner().invoke(produce, ["-u", str(file), "-s", broker, "--single-samples"])
    assert outcome.exit_code == 0, outcome.output
    store(broker, file, "--replace", "--single-samples")
    told, _ = run(file, broker, batch=16)
    assert told.steps == [(3, 3)] * 2
    assert told.sizes == {16, 12}


# ---- very many components ----


def test_a_table_of_thousands_of_columns(session_name: str, broker: str) -> None:
    columns, rows = 3000, 48
    x = {f"c{n}": np.arange(rows, dtype=np.float32) + n for n in range(columns)}
    dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(rows))).batch(8)
    stored = upload(dataset, broker, session_name).epochs[0]
    own = rows * (4 * columns + 8)
    assert own <= stored.bytes < 1.05 * own
    found = kafka_dataset(broker, session_name, batch_size=20, shuffle=True, seed=1)
    assert found.element_spec == dataset.element_spec
    elements = list(found.as_numpy_iterator())
    assert [len(y) for _, y in elements] == [20, 20, 8]
    for name in ("c0", "c7", "c2999"):
        for values, y in elements:
            np.testing.assert_array_equal(values[name], np.float32(y + int(name[1:])))
