"""Several inputs and outputs by name: text, a list of varying length and a number in, two out.

x and y are dicts of tensors, as a model with named inputs and outputs needs them. The samples are
invented houses: their city (a string), the sizes of their rooms (a ragged tensor) and their age.
The model learns two outputs: the price, and whether a house is sold within a month.

Everything is stored and read back as the pipeline yields it, strings and ragged rows included.
get_online_pipeline then converts it to what the model takes: cities as numbers, rooms padded to the
longest list. It runs after the read, so one upload serves every value of ``cities_known``.
"""

import keras
import numpy as np
import tensorflow as tf

hparams = {
    "procID": 0,
    "nbEpoch": 8,
    "learning_rate": 0.01,
    "hidden_neurons": 32,
    "most_rooms": 6,
    "cities_known": 4,
}

# ---- the experiment ----
workingFolder = "experiments/named_inputs"
session_name = "named_inputs"
model_file = "model_named_inputs.py"
random_seed = 3

# ---- the machine ----
used_gpu_IDs = [0]
useXLA = False
use_profiling = False
enable_mixed_precision = False

# ---- the data ----
raw_data_dir_train = ""
raw_data_dir_val = ""
raw_data_filename_extension = ""
nb_train_samples = 2000
nb_val_samples = 400
reference_labels = ["price", "sold"]
most_rooms = hparams["most_rooms"]
price_of_a_square_metre = {"Annecy": 5.0, "Chamonix": 7.0, "Rumilly": 3.0, "Seyssel": 2.0}

# ---- the training ----
nbEpoch = hparams["nbEpoch"]
batch_size = 50
steps_per_epoch = 0
validation_steps = 0
early_stopping_patience = 5
weights_moving_averages = False


def addon_callbacks(model, train_samples, val_samples):
    return []


def get_learningRate():
    return hparams["learning_rate"]


def get_optimizer(model, loss, learning_rate):
    return keras.optimizers.Adam(learning_rate)


def get_metrics(model, loss):
    return {"price": ["mae"], "sold": ["accuracy"]}


def get_total_loss(model):
    return {"price": "mean_squared_error", "sold": "binary_crossentropy"}


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    """Houses from a seeded generator, different ones for training and validation."""
    random = np.random.default_rng(random_seed if isTraining else random_seed + 1)
    count = nb_train_samples if isTraining else nb_val_samples
    cities = random.choice(list(price_of_a_square_metre), size=count)
    rooms = [random.uniform(8, 30, random.integers(1, most_rooms + 1)) for _ in range(count)]
    age = random.integers(0, 100, count)
    # The price in units of 100,000.
    price = np.array([price_of_a_square_metre[city] for city in cities]) / 100
    price *= np.array([sizes.sum() for sizes in rooms]) * (1 - age / 200)
    sold = price + random.normal(scale=0.2, size=count) < 1.5

    x = {
        "city": tf.constant(cities),
        "rooms": tf.ragged.constant(rooms, dtype=tf.float32),
        "age": tf.constant(age, tf.int32),
    }
    y = {"price": tf.constant(price, tf.float32), "sold": tf.constant(sold)}
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    if isTraining:
        dataset = dataset.shuffle(count, seed=random_seed)
    return dataset.repeat(nbEpoch).batch(batch_size)


def get_online_pipeline(dataset, isTraining):
    """Convert the samples to what the model takes: dense numbers."""
    known = sorted(price_of_a_square_metre)[: hparams["cities_known"]]
    numbers = tf.range(1, len(known) + 1, dtype=tf.int64)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(known), numbers), default_value=0
    )

    def prepare(x, y):
        numeric = {
            "city": table.lookup(x["city"]),
            "rooms": x["rooms"].to_tensor(shape=(None, most_rooms)),
            "age": tf.cast(x["age"], tf.float32),
        }
        # One column each, like the model's outputs.
        return numeric, {name: tf.cast(value, tf.float32)[:, None] for name, value in y.items()}

    return dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
