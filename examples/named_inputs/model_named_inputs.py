"""Named inputs and outputs: an embedding of the city, two dense layers, two heads."""

import keras
from keras import layers


def model(usersettings):
    hparams = usersettings.hparams
    city = keras.Input((), dtype="int64", name="city")
    rooms = keras.Input((hparams["most_rooms"],), name="rooms")
    age = keras.Input((), name="age")
    features = layers.Concatenate()(
        [
            layers.Embedding(hparams["cities_known"] + 1, 4)(city),
            layers.Rescaling(1 / 30)(rooms),
            layers.Reshape((1,))(layers.Rescaling(1 / 100)(age)),
        ]
    )
    hidden = features
    for _ in range(2):
        hidden = layers.Dense(hparams["hidden_neurons"], activation="relu")(hidden)
    outputs = {
        "price": layers.Dense(1, name="price")(hidden),
        "sold": layers.Dense(1, activation="sigmoid", name="sold")(hidden),
    }
    inputs = {"city": city, "rooms": rooms, "age": age}
    return keras.Model(inputs, outputs, name="named_inputs")
