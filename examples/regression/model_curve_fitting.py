"""A network with one hidden layer, its width and activation from the hyperparameters."""

import keras


def model(usersettings):
    hparams = usersettings.hparams
    x = keras.Input((1,), name="x")
    hidden = keras.layers.Dense(hparams["hidden_neurons"], hparams["activation"])(x)
    y = keras.layers.Dense(1, name="y")(hidden)
    return keras.Model(x, y, name="curve_fitting")
