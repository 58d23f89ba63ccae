"""Small trainings to be audited, as texts of scripts; they are started with the name of their run,
a number of steps, and what is wrong with them.
"""

LOOP = """
import random, sys
from pathlib import Path
import numpy as np, tensorflow as tf, ckptkit

run, total, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if kind == "two":
    random.seed(1)
    np.random.seed(1)


def train(run, total):
    weight, calm = tf.Variable(tf.zeros((3, 4)), name="weight"), tf.Variable(0, name="calm")
    generator = tf.random.Generator.from_seed(3)
    began_at = 0

    @tf.function
    def train_step():
        calm.assign_add(1)
        weight.assign(0.9 * weight + generator.normal((3, 4)))

    state = {"weight": weight, "calm": calm, "generator": generator}
    with ckptkit.CheckpointManager(run, state) as manager:
        for step in manager.steps(total):
            train_step()
            began_at = began_at or step
            if kind == "shaky":
                weight.assign_add(np.random.normal(size=(3, 4)).astype("float32"))
            if kind == "forgetful":
                weight[1, 2].assign(began_at)


Path("written.txt").open("a").write("a process begins\\n")
train(run, total)
if kind == "two":
    train(run + "-second", total // 2)
"""

NOISY_FIT = """
import sys
import keras, numpy as np, tensorflow as tf, ckptkit

if sys.argv[3] == "seeded":
    keras.utils.set_random_seed(5)


class Noise(keras.layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


dense = keras.layers.Dense
model = keras.Sequential(
    [keras.Input((4,)), Noise(), dense(3, name="first"), dense(1, name="second")]
)
model.compile("adam", "mse")
x = np.arange(48, dtype="float32").reshape(12, 4) / 48
epochs = int(sys.argv[2]) // 6
exact = sys.argv[4] if len(sys.argv) > 4 else None
callbacks = [ckptkit.CheckpointCallback(sys.argv[1], exact=exact)]
model.fit(x, x[:, :1], batch_size=2, epochs=epochs, verbose=0, callbacks=callbacks)
"""

CLIENT_FIT = """
import socket, sys
import keras, numpy as np, ckptkit


class Client(keras.callbacks.Callback):
    # It sends a byte after each batch, and moves a weight by what it has received at the end.
    def __init__(self):
        super().__init__()
        self.client, self.server = socket.socketpair()

    def on_train_batch_end(self, batch, logs=None):
        self.client.send(b"1")

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.params["epochs"]:
            self.model.layers[0].bias.assign_add([float(len(self.server.recv(1000)))])


keras.utils.set_random_seed(5)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
x = np.arange(48, dtype="float32").reshape(12, 4) / 48
epochs = int(sys.argv[2]) // 6
callbacks = [ckptkit.CheckpointCallback(sys.argv[1], export=False), Client()]
model.fit(x, x[:, :1], batch_size=2, epochs=epochs, verbose=0, callbacks=callbacks)
"""

MIRRORED_FIT = """
import sys
import keras, numpy as np, tensorflow as tf, ckptkit

processor = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(processor, two)
keras.utils.set_random_seed(5)
layers = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse")
x = np.random.default_rng(3).normal(size=(12, 4)).astype("float32")
callbacks = [ckptkit.CheckpointCallback(sys.argv[1])]
epochs = int(sys.argv[2]) // 6
model.fit(x, x[:, :1], batch_size=2, epochs=epochs, verbose=0, callbacks=callbacks)
"""
