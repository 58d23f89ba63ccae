"""Train a small convolutional network on the UCI handwritten digits.

Kill it at any moment and start it again with the same command: it continues from its newest
checkpoint, in the middle of an epoch too. What it prints at the end is the same, whatever happened
to it.
"""

import argparse
import hashlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

DIGITS = Path(__file__).parent / "data" / "digits.npz"
HELD_OUT = 297  # the last ones


def load_digits(batch_size: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    with np.load(DIGITS) as digits:
        images = digits["images"].astype("float32")[..., np.newaxis]
        labels = digits["labels"].astype("int32")
    training = tf.data.Dataset.from_tensor_slices((images[:-HELD_OUT], labels[:-HELD_OUT]))
    held_out = tf.data.Dataset.from_tensor_slices((images[-HELD_OUT:], labels[-HELD_OUT:]))
    return training.shuffle(len(training), seed=7).batch(batch_size).prefetch(2), held_out.batch(
        HELD_OUT
    )


def build_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
            layers.RandomRotation(0.03, fill_mode="constant"),
            layers.Conv2D(64, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.98),
            layers.ReLU(),
            layers.Conv2D(128, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.98),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )
    learning_rate = keras.optimizers.schedules.ExponentialDecay(
        3e-3, decay_steps=94, decay_rate=0.8
    )
    model.compile(
        keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def digest(model: keras.Model) -> str:
    variables = [*model.variables, *model.optimizer.variables]
    return hashlib.sha256(
        b"".join(variable.numpy().tobytes() for variable in variables)
    ).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--run", default="runs/digits", help="the run's directory")
    parser.add_argument(
        "--epochs", type=int, default=15, help="epochs in all, those of earlier attempts included"
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument(
        "--verbose", type=int, default=2, help="as in Keras: 2 is a line an epoch, 1 a progress bar"
    )
    parser.add_argument(
        "--save-steps",
        type=int,
        default=20,
        help="steps between two saves; 0 for the default of ckptkit, which adapts to the cost",
    )
    args = parser.parse_args()
    save: ckptkit.SavePolicy = ckptkit.Adaptive()
    if args.save_steps:
        save = ckptkit.EveryNSteps(args.save_steps) | ckptkit.EveryNEpochs(1)

    keras.utils.set_random_seed(7)
    training, held_out = load_digits(args.batch_size)
    model = build_model()
    model.fit(
        training,
        epochs=args.epochs,
        shuffle=False,  # the dataset does
        validation_data=held_out,
        verbose=args.verbose,
        callbacks=[ckptkit.CheckpointCallback(args.run, save=save)],
    )
    accuracy = model.evaluate(held_out, verbose=0, return_dict=True)["accuracy"]
    print(f"accuracy on {HELD_OUT} held-out digits: {accuracy:.4f}")
    print(f"SHA-256 of all variables: {digest(model)}")


if __name__ == "__main__":
    main()
