"""Settings files for tests: a complete one, and ways to change it."""

from __future__ import annotations

from pathlib import Path

NAMES = {
    "workingFolder": "'experiments/test'",
    "session_name": "'test'",
    "hparams": "{'procID': 0, 'image_size': 32, 'learning_rate': 0.1, 'nbEpoch': 3}",
    "used_gpu_IDs": "[0]",
    "useXLA": "False",
    "use_profiling": "False",
    "model_file": "'model.py'",
    "weights_moving_averages": "False",
    "random_seed": "42",
    "nbEpoch": "hparams['nbEpoch']",
    "early_stopping_patience": "5",
    "raw_data_dir_train": "''",
    "raw_data_dir_val": "''",
    "raw_data_filename_extension": "''",
    "nb_train_samples": "100",
    "nb_val_samples": "20",
    "steps_per_epoch": "0",
    "validation_steps": "0",
    "batch_size": "10",
    "reference_labels": "['y']",
}
FUNCTIONS = {
    "addon_callbacks": "def addon_callbacks(model, train_samples, val_samples):\n    return []\n",
    "get_learningRate": "def get_learningRate():\n    return hparams['learning_rate']\n",
    "get_optimizer": "def get_optimizer(model, loss, learning_rate):\n    return 'sgd'\n",
    "get_metrics": "def get_metrics(model, loss):\n    return ['mae']\n",
    "get_total_loss": "def get_total_loss(model):\n    return 'mse'\n",
    "get_input_pipeline": (
        "def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):\n"
        "    import tensorflow as tf\n"
        "    return tf.data.Dataset.range(nb_train_samples).batch(batch_size).repeat(nbEpoch)\n"
    ),
}


def text(before: str = "", after: str = "", **names: str | None) -> str:
    """A settings file's text.

    `names` replaces the expressions of variables, or whole functions; None leaves one out. `after`
    comes after the variables and before the functions, `before` comes first.
    """
    unknown = set(names) - set(NAMES) - set(FUNCTIONS)
    if unknown:
        raise KeyError(unknown)
    variables = {**NAMES, **{name: names[name] for name in NAMES if name in names}}
    functions = {**FUNCTIONS, **{name: names[name] for name in FUNCTIONS if name in names}}
    lines = [f"{name} = {value}\n" for name, value in variables.items() if value is not None]
    defined = [function for function in functions.values() if function is not None]
    return "".join([f"{before}\n", *lines, f"{after}\n", *defined])


def write(folder: Path, before: str = "", after: str = "", **names: str | None) -> Path:
    """Write `text` to a settings file in `folder`."""
    path = folder / "mysettings_test.py"
    path.write_text(text(before, after, **names))
    return path
