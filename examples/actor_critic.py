"""An actor-critic agent that learns from a replay buffer in NumPy."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

keras.utils.set_random_seed(1)
STEPS, GAMMA = 40, 0.9


class ReplayBuffer:
    """The newest transitions, in an array that is written in a circle."""

    def __init__(self, size):
        self.rows = np.zeros((size, 6), "float32")
        self.count = 0

    def add(self, state, action, reward, next_state):
        self.rows[self.count % len(self.rows)] = [*state, action, reward, *next_state]
        self.count += 1

    def sample(self, random, rows):
        chosen = self.rows[random.integers(0, min(self.count, len(self.rows)), rows)]
        return chosen[:, :2], chosen[:, 2:3], chosen[:, 3:4], chosen[:, 4:]

    def get_state(self):
        return {"rows": self.rows, "count": self.count}

    def set_state(self, state):
        self.rows, self.count = state["rows"], state["count"]


class Car:
    """A car that should stop at position 0."""

    def __init__(self):
        self.state = np.array([1.0, 0.0], "float32")

    def step(self, action):
        position, speed = self.state
        speed = 0.9 * speed + 0.1 * float(action)
        self.state = np.array([position + 0.1 * speed, speed], "float32")
        return -abs(float(self.state[0])), self.state

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


actor = keras.Sequential([keras.Input((2,)), layers.Dense(16, "relu"), layers.Dense(1, "tanh")])
critic = keras.Sequential([keras.Input((3,)), layers.Dense(16, "relu"), layers.Dense(1)])
actor_optimizer, critic_optimizer = keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-2)
actor_optimizer.build(actor.trainable_variables)
critic_optimizer.build(critic.trainable_variables)
buffer, car, random = ReplayBuffer(32), Car(), np.random.default_rng(3)


@tf.function
def learn(states, actions, rewards, next_states):
    target = rewards + GAMMA * critic(tf.concat([next_states, actor(next_states)], axis=1))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((critic(tf.concat([states, actions], axis=1)) - target) ** 2)
    weights = critic.trainable_variables
    critic_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
    with tf.GradientTape() as tape:
        value = -tf.reduce_mean(critic(tf.concat([states, actor(states)], axis=1)))
    weights = actor.trainable_variables
    actor_optimizer.apply_gradients(zip(tape.gradient(value, weights), weights))


state = {
    "networks": [actor, critic],
    "optimizers": [actor_optimizer, critic_optimizer],
    "world": [buffer, car, random],
}
with ckptkit.CheckpointManager("runs/actor_critic", state) as manager:
    for _ in manager.steps(STEPS):
        before = car.state
        action = float(actor(before[None])[0, 0]) + random.normal(scale=0.1)
        reward, after = car.step(action)
        buffer.add(before, action, reward, after)
        learn(*buffer.sample(random, 8))
