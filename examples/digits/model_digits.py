"""A small CNN for grey images of any size that is a multiple of 8."""

import keras
from keras import layers


def model(usersettings):
    hparams = usersettings.hparams
    size, filters = hparams["image_size"], hparams["filters"]
    image = keras.Input((size, size, 1), name="image")
    x = layers.Rescaling(1 / 64, offset=-2)(image)
    if size > 16:
        x = layers.AveragePooling2D(size // 16)(x)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(4 * filters, activation="relu")(x)
    digit = layers.Dense(len(usersettings.reference_labels), name="digit")(x)
    return keras.Model(image, digit, name="digits")
