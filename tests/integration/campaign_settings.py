"""A settings file for tests of campaigns: y = x^2; files say where uploads and trials are to wait.

In the folder TEST_HOLD: while ``upload`` is there, a training set's pipeline waits in its middle;
while ``trial`` is there, a trial waits after its first epoch.
"""

import os
import time

import keras
import numpy as np
import tensorflow as tf

hparams = {"procID": 0, "learning_rate": 0.05, "scale": 1.0}
workingFolder = "experiments"
session_name = "squares"
model_file = "campaign_model.py"
random_seed = 7
used_gpu_IDs = []
useXLA = False
use_profiling = False
raw_data_dir_train = ""
raw_data_dir_val = ""
raw_data_filename_extension = ""
nb_train_samples = 0
nb_val_samples = 0
reference_labels = ["square"]
nbEpoch = 3
batch_size = 8
steps_per_epoch = 0
validation_steps = 0
early_stopping_patience = 3
weights_moving_averages = False


def wait_while(name):
    while os.path.exists(os.path.join(os.environ["TEST_HOLD"], name)):
        time.sleep(0.05)


def addon_callbacks(model, train_samples, val_samples):
    def begin(epoch, logs):
        if epoch == 1:
            wait_while("trial")

    return [keras.callbacks.LambdaCallback(on_epoch_begin=begin)]


def get_learningRate():
    return hparams["learning_rate"]


def get_optimizer(model, loss, learning_rate):
    return keras.optimizers.SGD(learning_rate)


def get_metrics(model, loss):
    return ["mae"]


def get_total_loss(model):
    return "mean_squared_error"


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    number = 64 if isTraining else 16
    scale = hparams["scale"]

    def samples():
        for n in range(number):
            if isTraining and n == number // 2:
                wait_while("upload")
            x = np.float32([scale * n / number])
            yield x, x**2

    spec = tf.TensorSpec((1,), tf.float32)
    dataset = tf.data.Dataset.from_generator(samples, output_signature=(spec, spec))
    return dataset.repeat(nbEpoch).batch(batch_size)
