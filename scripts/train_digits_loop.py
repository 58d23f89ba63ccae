"""Train a small GAN that draws handwritten digits: a training loop of its own, with two models and
two optimizers.

Kill it at any moment and start it again with the same command: it continues from its newest
checkpoint. What it prints at the end is the same, whatever happened to it.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

DIGITS = Path(__file__).parent / "data" / "digits.npz"
NOISE = 32
BATCH_SIZE = 64
SHADES = " .:-=+*#%"  # paper to ink


def load_digits() -> Iterator[tf.Tensor]:
    with np.load(DIGITS) as digits:
        images = digits["images"].astype("float32")[..., np.newaxis] / 8 - 1
    dataset = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images), seed=7).repeat()
    return iter(dataset.batch(BATCH_SIZE).prefetch(2))


def build_generator() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((NOISE,)),
            layers.Dense(2 * 2 * 64, activation="relu"),
            layers.Reshape((2, 2, 64)),
            layers.Conv2DTranspose(48, 4, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh"),
        ],
        name="generator",
    )


def build_discriminator() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 4, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.Dropout(0.3),
            layers.Conv2D(64, 4, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.Flatten(),
            layers.Dense(1),
        ],
        name="discriminator",
    )


def draw(images: np.ndarray) -> str:
    shades = ((images[..., 0] + 1) * 4).round().astype(int)
    return "\n".join(
        "   ".join("".join(2 * SHADES[shade] for shade in row) for row in rows)
        for rows in shades.swapaxes(0, 1)
    )


def digest(values: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--run", default="runs/digits-gan", help="the run's directory")
    parser.add_argument(
        "--steps", type=int, default=3000, help="steps in all, those of earlier attempts included"
    )
    args = parser.parse_args()

    keras.utils.set_random_seed(7)
    batches = load_digits()
    generator, discriminator = build_generator(), build_discriminator()
    g_optimizer, d_optimizer = (
        keras.optimizers.Adam(2e-4, beta_1=0.5),
        keras.optimizers.Adam(2e-4, beta_1=0.5),
    )
    g_optimizer.build(generator.trainable_variables)
    d_optimizer.build(discriminator.trainable_variables)
    noise = tf.random.Generator.from_seed(7)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function  # type: ignore[untyped-decorator]
    def train_step(real: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            drawn = generator(noise.normal((BATCH_SIZE, NOISE)), training=True)
            on_real, on_drawn = (
                discriminator(real, training=True),
                discriminator(drawn, training=True),
            )
            g_loss = loss(tf.ones_like(on_drawn), on_drawn)
            d_loss = loss(tf.ones_like(on_real), on_real) + loss(tf.zeros_like(on_drawn), on_drawn)
        for optimizer, tape, value, model in (
            (g_optimizer, g_tape, g_loss, generator),
            (d_optimizer, d_tape, d_loss, discriminator),
        ):
            optimizer.apply(
                tape.gradient(value, model.trainable_variables), model.trainable_variables
            )
        return g_loss, d_loss

    state = {
        "generator": generator,
        "discriminator": discriminator,
        "g_optimizer": g_optimizer,
        "d_optimizer": d_optimizer,
        "batches": batches,
        "noise": noise,
    }
    with ckptkit.CheckpointManager(args.run, state, save=ckptkit.EveryNSteps(500)) as manager:
        for step in manager.steps(args.steps):
            g_loss, d_loss = train_step(next(batches))
            manager.log(g_loss=g_loss, d_loss=d_loss)
            if step % 100 == 0:
                print(
                    f"step {step}: generator {float(g_loss):.3f}, discriminator "
                    f"{float(d_loss):.3f}",
                    flush=True,
                )
    model = ckptkit.export_saved_model(generator, Path(args.run) / "export")

    print(
        draw(generator(tf.random.stateless_normal((6, NOISE), seed=(7, 7)), training=False).numpy())
    )
    variables = [
        variable
        for part in (generator, discriminator, g_optimizer, d_optimizer)
        for variable in part.variables
    ]
    print(f"SavedModel: {model}")
    print(f"SHA-256 of all variables: {digest([variable.numpy() for variable in variables])}")


if __name__ == "__main__":
    main()
