"""Fit a curve: y = x^2 with noise, by a tiny network.

The smallest complete settings file: one scalar in, one scalar out, data generated on the fly. It
shows what every experiment defines. It also has a serving section, which deeptool ignores.

``noise`` is a data hparam: the stored samples depend on it, so a trial with another value needs
another upload. The others are free: any number of trials reads the same upload.
"""

import keras
import numpy as np
import tensorflow as tf

# Can be overridden on the command line: --hparam learning_rate=0.003
hparams = {
    "procID": 0,
    "nbEpoch": 15,
    "learning_rate": 0.01,
    "hidden_neurons": 16,
    "activation": "tanh",
    "noise": 0.05,
}

# ---- the experiment ----
workingFolder = "experiments/curve_fitting"
session_name = "curve_fitting"
model_file = "model_curve_fitting.py"
random_seed = 42

# ---- the machine ----
used_gpu_IDs = [0]
useXLA = False
use_profiling = False
enable_mixed_precision = False

# ---- the data ----
raw_data_dir_train = ""
raw_data_dir_val = ""
raw_data_filename_extension = ""
nb_train_samples = 1000
nb_val_samples = 200
reference_labels = ["y"]
consume_data_from_kafka = False
kafka_bootstrap_servers = ["localhost:9092"]

# ---- the training ----
nbEpoch = hparams["nbEpoch"]
batch_size = 20
steps_per_epoch = nb_train_samples // batch_size
validation_steps = nb_val_samples // batch_size
early_stopping_patience = 10
weights_moving_averages = False


def addon_callbacks(model, train_samples, val_samples):
    return []


def get_learningRate():
    return keras.optimizers.schedules.CosineDecay(
        hparams["learning_rate"], decay_steps=nbEpoch * steps_per_epoch
    )


def get_optimizer(model, loss, learning_rate):
    return keras.optimizers.Adam(learning_rate)


def get_metrics(model, loss):
    return [keras.metrics.MeanAbsoluteError(name="mae")]


def get_total_loss(model):
    return "mean_squared_error"


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    """Points of the curve, at random for training, evenly spaced for validation."""
    random = np.random.default_rng(random_seed if isTraining else random_seed + 1)
    if isTraining:
        x = random.uniform(-1, 1, size=(nb_train_samples, 1))
    else:
        x = np.linspace(-1, 1, nb_val_samples)[:, np.newaxis]
    y = x**2 + random.normal(scale=hparams["noise"], size=x.shape)
    dataset = tf.data.Dataset.from_tensor_slices((np.float32(x), np.float32(y)))
    if isTraining:
        dataset = dataset.shuffle(nb_train_samples, seed=random_seed)
    return dataset.repeat(nbEpoch).batch(batch_size)


# ---- serving ----
served_head = "y"
tensorflow_server_address = "127.0.0.1"
tensorflow_server_port = 9000
wait_for_server_ready_int_secs = 5


class Client_IO:
    """The questions of a client of the served model, and what it does with the answers."""

    def __init__(self):
        self.questions, self.answers = [], []

    def getInputData(self, idx):
        self.questions.append(idx / 10)
        return {"x": np.float32([[self.questions[-1]]])}

    def decodeResponse(self, result):
        self.answers.append(float(np.squeeze(result[served_head])))
        return self.answers[-1]

    def finalize(self):
        for x, y in zip(self.questions, self.answers, strict=True):
            print(f"f({x:.1f}) = {y:.3f}, x^2 = {x * x:.3f}")
