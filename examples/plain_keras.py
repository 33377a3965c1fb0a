"""Store a dataset once and train from it, in a plain Keras script without a settings file.

python examples/plain_keras.py localhost:9092
"""

import sys

import keras
import tensorflow as tf
from sklearn.datasets import load_digits

import deeptool

servers = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
images, labels = load_digits(return_X_y=True)
dataset = tf.data.Dataset.from_tensor_slices((images.astype("float32") / 16, labels)).batch(32)

deeptool.upload(dataset, servers, "plain_keras", split="train", replace=True)
data = deeptool.open(servers, "plain_keras", split="train")
print(f"{len(data)} samples: {data.spec}")

model = keras.Sequential([keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(data.tf(batch_size=64, shuffle=True, seed=1), epochs=5)
