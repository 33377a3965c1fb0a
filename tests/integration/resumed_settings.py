"""A settings file for trials that are stopped inside epochs; hparams choose variations."""

import os

import keras
import numpy as np
import tensorflow as tf

workingFolder = "experiments"
session_name = "resumed"
hparams = {
    "epochs": 4,
    "rate": "number",
    "samples": 84,
    "patience": 0,
    "steps": 0,
    "val_steps": 0,
    "dropout": 0.3,
    "averages": False,
    "plateau": False,
    "metrics": "mae",
    "online": "",
    "seen": "seen.txt",
    "seconds": 1e-6,
    "pause": 0.0,
}
used_gpu_IDs = []
useXLA = False
use_profiling = False
model_file = "resumed_model.py"
weights_moving_averages = hparams["averages"]
random_seed = 7
nbEpoch = hparams["epochs"]
early_stopping_patience = hparams["patience"]
raw_data_dir_train = "train"
raw_data_dir_val = "val"
raw_data_filename_extension = ""
nb_train_samples = 0
nb_val_samples = 0
steps_per_epoch = hparams["steps"]
validation_steps = hparams["val_steps"]
batch_size = 8
reference_labels = ["sum"]
data_hparams = ["samples"]
checkpoint_seconds = hparams["seconds"]


class Stop(keras.callbacks.Callback):
    """Marks where epochs begin, and stops before the batch that the environment names."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        with open(hparams["seen"], "a") as file:
            file.write(f"epoch {epoch}\n")

    def on_train_batch_begin(self, batch, logs=None):
        if os.environ.get("STOP_AT") == f"{self.epoch},{batch}":
            raise OSError("pulled the plug")


def addon_callbacks(model, train_samples, val_samples):
    callbacks = [Stop()]
    if hparams["plateau"]:
        callbacks.append(keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0.5))
    if hparams["rate"] == "multiplied":
        # Asked for the rate of the epoch before: exact only if it is asked once an epoch.
        callbacks.append(keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7))
    return callbacks


def get_learningRate():
    if hparams["rate"] == "schedule":
        return keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.9)
    if hparams["rate"] == "epochs":
        return lambda epoch: 0.05 / (1 + epoch)
    return 0.05


def get_optimizer(model, loss, learning_rate):
    return keras.optimizers.Adam(learning_rate)


def get_metrics(model, loss):
    if hparams["metrics"] == "many":
        error = keras.metrics.RootMeanSquaredError(name="rmse")
        return ["mae", error, keras.metrics.R2Score(name="r2")]
    return ["mae"]


def get_total_loss(model):
    return "mean_squared_error"


def get_online_pipeline(dataset, isTraining):
    if hparams["online"] and isTraining:
        return dataset.map(lambda x, y: (x, y * 2.0))
    return dataset


if not hparams["online"]:
    get_online_pipeline = None


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    count = hparams["samples"] if isTraining else 24
    features = np.random.default_rng(count).normal(size=(count, 6)).astype("float32")
    x = np.concatenate([features, np.arange(count, dtype="float32")[:, np.newaxis]], 1)
    return tf.data.Dataset.from_tensor_slices((x, features.sum(1, keepdims=True))).batch(batch_size)
