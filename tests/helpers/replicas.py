"""Train on two replicas (two logical CPUs), also with a restart, and on one; print the results.

A process of its own: TensorFlow's devices are fixed once it computes.
"""

import json
import math
import sys

import keras
import tensorflow as tf

cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)

from deeptool import train  # noqa: E402
from deeptool.settings import load_settings  # noqa: E402
from deeptool.training import callbacks, devices  # noqa: E402

callbacks.WRITING = math.inf
HPARAMS = {"epochs": 4, "averages": True, "plateau": True}
alone = train(sys.argv[1], hparams=HPARAMS)

two = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"])
devices.prepare = lambda wanted, mixed: devices.Devices((), two, "float32", ())
whole = train(sys.argv[1], hparams=HPARAMS)

settings = load_settings(sys.argv[1], hparams=HPARAMS)


class Fail(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise OSError("pulled the plug")


addon = settings.addon_callbacks
settings.addon_callbacks = lambda *given: [*addon(*given), Fail()]
try:
    train(settings, session_dir="interrupted")
except OSError:
    resumed = train(restart_from="interrupted")
print(json.dumps([result.to_json() for result in (alone, whole, resumed)]))
