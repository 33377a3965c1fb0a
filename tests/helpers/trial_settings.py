"""A settings file for tests of training: y = x^2 on a few samples; hparams choose variations."""

import numpy as np
import tensorflow as tf

workingFolder = "experiments"
session_name = "trial"
hparams = {
    "learning_rate": 0.05,
    "epochs": 3,
    "patience": 0,
    "samples": 40,
    "steps": 0,
    "val_steps": 0,
    "dropout": 0.0,
    "plateau": False,
    "averages": False,
    "data": "slices",
}
used_gpu_IDs = []
useXLA = False
use_profiling = False
model_file = "trial_model.py"
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
reference_labels = ["square"]
data_hparams = ["samples", "data"]


def addon_callbacks(model, train_samples, val_samples):
    if hparams["plateau"]:
        return [tf.keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0.5)]
    return {}


def get_learningRate():
    return hparams["learning_rate"]


def get_optimizer(model, loss, learning_rate):
    return tf.keras.optimizers.Adam(learning_rate)


def get_metrics(model, loss):
    return ["mae"]


def get_total_loss(model):
    return "mean_squared_error"


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    count = hparams["samples"] if isTraining else 16
    x = np.linspace(-1, 1, count, dtype=np.float32)[:, np.newaxis]
    dataset = tf.data.Dataset.from_tensor_slices((x, x**2)).batch(batch_size)
    if hparams["data"] == "endless":
        return dataset.repeat()
    if hparams["data"] == "empty":
        return dataset.take(0)
    if hparams["data"] == "uncounted":
        return dataset.filter(lambda x, y: True)
    return dataset
