"""A settings file for tests of campaigns on Slurm: handwritten digits, a linear model, and waits.

It costs as little CPU as can be, and takes as long as a test says, on any machine:
``sample_seconds`` and ``epoch_seconds`` are slept, and the third epoch begins when the file
``go_on`` is there.
"""

import os
import time

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

hparams = {
    "procID": 0,
    "image_size": 16,
    "learning_rate": 0.005,
    "nbEpoch": 3,
    "sample_seconds": 0.0,
    "epoch_seconds": 0.0,
    "go_on": "",
}
session_name = "digits"
model_file = "paced_model.py"
random_seed = 7
nbEpoch = hparams["nbEpoch"]
batch_size = 64


def addon_callbacks(model, train_samples, val_samples):
    def begin(epoch, logs):
        time.sleep(hparams["epoch_seconds"])
        while epoch == 2 and hparams["go_on"] and not os.path.exists(hparams["go_on"]):
            time.sleep(0.2)

    return [keras.callbacks.LambdaCallback(on_epoch_begin=begin)]


def get_optimizer(model, loss, learning_rate):
    return keras.optimizers.SGD(hparams["learning_rate"])


def get_total_loss(model):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    images, labels = load_digits(return_X_y=True)
    chosen = (np.arange(len(images)) % 5 > 0) == isTraining
    images, labels = images[chosen], labels[chosen]
    times = hparams["image_size"] // 8
    seconds = hparams["sample_seconds"]

    def samples():
        for image, label in zip(images, labels, strict=True):
            time.sleep(seconds)
            yield np.kron(image.reshape(8, 8), np.ones((times, times))).astype(np.uint8), label

    size = 8 * times
    spec = (tf.TensorSpec((size, size), tf.uint8), tf.TensorSpec((), tf.int64))
    dataset = tf.data.Dataset.from_generator(samples, output_signature=spec)
    return dataset.repeat(nbEpoch).batch(batch_size)
