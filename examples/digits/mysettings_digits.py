"""Read handwritten digits: scikit-learn's, magnified and distorted at some cost, by a small CNN.

The case that deeptool is made for. Preprocessing an image (magnify it in steps, warp it, blur it,
normalise its contrast) takes milliseconds; training on it takes a fraction of one. If every trial
of a search preprocesses the images again, most of the time is spent on repeated work.

- ``image_size`` is a data hparam: the pipeline looks it up, so each of its values is an upload of
  its own (procID 0, 1, ...), and a trial reads the one that matches it.
- ``augmentation`` is free, although it changes the images: get_online_pipeline applies it after
  the read, with new random numbers in each epoch.
- ``learning_rate``, ``filters`` and ``nbEpoch`` do not affect the samples.

Images are stored as uint8, which needs a quarter of the space of float32.
"""

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage
from sklearn.datasets import load_digits

hparams = {
    "procID": 0,
    "image_size": 32,
    "learning_rate": 0.005,
    "augmentation": 0.5,
    "filters": 16,
    "nbEpoch": 8,
}

# ---- the experiment ----
workingFolder = "experiments/digits"
session_name = "digits"
model_file = "model_digits.py"
random_seed = 7

# ---- the machine ----
used_gpu_IDs = [0]
useXLA = False
use_profiling = False
enable_mixed_precision = False

# ---- the data: part of scikit-learn; every fifth image is for validation ----
raw_data_dir_train = ""
raw_data_dir_val = ""
raw_data_filename_extension = ""
nb_train_samples = 0
nb_val_samples = 0
reference_labels = [str(digit) for digit in range(10)]
image_size = hparams["image_size"]
consume_data_from_kafka = False

# ---- the training: 0 steps means all of the dataset ----
nbEpoch = hparams["nbEpoch"]
batch_size = 64
steps_per_epoch = 0
validation_steps = 0
early_stopping_patience = 4
weights_moving_averages = False


def addon_callbacks(model, train_samples, val_samples):
    return []


def get_learningRate():
    return keras.optimizers.schedules.ExponentialDecay(
        hparams["learning_rate"], decay_steps=50, decay_rate=0.7
    )


def get_optimizer(model, loss, learning_rate):
    return keras.optimizers.Adam(learning_rate)


def get_metrics(model, loss):
    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


def get_total_loss(model):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def warp(image, random, pixels):
    """Displace an image's pixels smoothly, by about `pixels`, and turn it by a few degrees."""
    size = len(image)
    noise = random.normal(size=(2, size, size)).astype(np.float32)
    field = np.stack([ndimage.gaussian_filter(part, size / 12) for part in noise])
    field *= pixels / field.std()
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    angle = random.normal(scale=0.1)
    turned = np.stack(
        [
            np.cos(angle) * rows - np.sin(angle) * columns,
            np.sin(angle) * rows + np.cos(angle) * columns,
        ]
    )
    return ndimage.map_coordinates(image, turned + (size - 1) / 2 + field, order=3)


def normalise_contrast(image, sigma):
    """Each pixel relative to the brightness and the contrast around it."""
    centred = image - ndimage.gaussian_filter(image, sigma)
    contrast = np.sqrt(ndimage.gaussian_filter(centred**2, sigma))
    return centred / (contrast + 0.1)


def preprocess(image, index, distort):
    """One 8 x 8 image of 0..16 to uint8 of (image_size, image_size, 1), the same every time."""
    random = np.random.default_rng([random_seed, index])
    working_size = image_size + 48
    image = np.float32(image) / 16
    while len(image) < working_size:
        factor = min(2, working_size / len(image))
        image = ndimage.gaussian_filter(ndimage.zoom(image, factor, order=3), 0.5)
    if distort:
        image = warp(image, random, pixels=working_size / 60)
    image = normalise_contrast(image, working_size / 8)
    image = ndimage.gaussian_filter(image, working_size / image_size / 2)
    image = ndimage.zoom(image, image_size / working_size, order=1)
    return np.uint8(np.clip(128 + 64 * image, 0, 255))[..., np.newaxis]


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    digits = load_digits()
    indices = np.arange(len(digits.images))
    indices = indices[(indices % 5 > 0) == isTraining]

    def load(image, label, index):
        image = tf.numpy_function(
            lambda image, index: preprocess(image, index, bool(isTraining)),
            (image, index),
            tf.uint8,
            stateful=False,
        )
        return tf.ensure_shape(image, (image_size, image_size, 1)), label

    dataset = tf.data.Dataset.from_tensor_slices(
        (digits.images[indices], digits.target[indices], indices)
    )
    if isTraining:
        dataset = dataset.shuffle(len(indices), seed=random_seed)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.repeat(nbEpoch).batch(batch_size).prefetch(2)


def get_online_pipeline(dataset, isTraining):
    """Shift each image by up to two pixels of 16 and add noise, both by the trial's strength."""
    strength = hparams["augmentation"]
    reach = round(2 * strength * image_size / 16)

    def shift(images, axis):
        offsets = tf.random.uniform((tf.shape(images)[0], 1), -reach, reach + 1, tf.int32)
        places = tf.clip_by_value(tf.range(image_size) + offsets, 0, image_size - 1)
        return tf.gather(images, places, axis=axis, batch_dims=1)

    def augment(images, labels):
        images = tf.cast(shift(shift(images, 1), 2), tf.float32)
        return images + tf.random.normal(tf.shape(images), stddev=16 * strength), labels

    if not isTraining or not strength:
        return dataset
    return dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
