"""Train a small network in plain JAX on the dataset that plain_keras.py stored: no TensorFlow.

python examples/plain_jax.py localhost:9092
"""

import sys

import jax
import jax.numpy as jnp

import deeptool


def logits(weights, images):
    hidden = jax.nn.relu(images @ weights["hidden"] + weights["hidden_bias"])
    return hidden @ weights["out"] + weights["out_bias"]


def loss(weights, images, labels):
    wrong = -jax.nn.log_softmax(logits(weights, images))
    return jnp.take_along_axis(wrong, labels[:, None], axis=1).mean()


@jax.jit
def step(weights, images, labels):
    gradients = jax.grad(loss)(weights, images, labels)
    return jax.tree.map(lambda weight, gradient: weight - 0.5 * gradient, weights, gradients)


servers = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
data = deeptool.open(servers, "plain_keras", split="train")

first, second = jax.random.split(jax.random.key(1))
weights = {
    "hidden": 0.1 * jax.random.normal(first, (64, 32)),
    "hidden_bias": jnp.zeros(32),
    "out": 0.1 * jax.random.normal(second, (32, 10)),
    "out_bias": jnp.zeros(10),
}
# Batches of one size: JAX compiles the step once for each size that it meets.
batches = data.numpy(batch_size=64, shuffle=True, seed=1, repeat=10, drop_remainder=True)
for images, labels in batches:
    weights = step(weights, images, labels)

right = sum(int((logits(weights, x).argmax(1) == y).sum()) for x, y in data.numpy())
print(f"accuracy on the {len(data)} samples: {right / len(data):.3f}")
