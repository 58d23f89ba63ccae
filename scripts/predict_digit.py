"""Use the SavedModel of a run as a server would: TensorFlow and the model's directory, nothing of
the training code.
"""

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf

DIGITS = Path(__file__).parent / "data" / "digits.npz"
HELD_OUT = 297  # the last ones, which training has not seen
SHADES = " .:-=+*#%"  # paper to ink


def draw(image: np.ndarray) -> str:
    return "\n".join("".join(2 * SHADES[value // 2] for value in row) for row in image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="directory of the SavedModel, say runs/digits/export/1")
    parser.add_argument(
        "--digit", type=int, default=0, help=f"which of the {HELD_OUT} held-out digits is drawn"
    )
    args = parser.parse_args()

    with np.load(DIGITS) as digits:
        images, labels = digits["images"][-HELD_OUT:], digits["labels"][-HELD_OUT:]
    served = tf.saved_model.load(args.model)
    probabilities = served.serve(images[..., np.newaxis].astype("float32")).numpy()
    predicted = probabilities.argmax(axis=1)

    print(draw(images[args.digit]))
    print(f"predicted: {predicted[args.digit]} (probability {probabilities[args.digit].max():.3f})")
    print(f"true label: {labels[args.digit]}")
    print(f"accuracy on {HELD_OUT} held-out digits: {np.mean(predicted == labels):.4f}")


if __name__ == "__main__":
    main()
