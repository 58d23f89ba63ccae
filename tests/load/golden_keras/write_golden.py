"""Writes golden files with one version of Keras: `python write_golden.py keras 3.6 zoo`.

Made once, for each version in an environment of its own; `README.md` beside the files says how.
"""

from __future__ import annotations

import importlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
zoo = importlib.import_module("zoo")


def main(module: str, label: str) -> None:
    keras = importlib.import_module(module)
    if not keras.__version__.startswith(label.removeprefix("tf_keras-")):
        raise SystemExit(f"expected {module} {label}, received {keras.__version__}")
    keras.utils.set_random_seed(1)
    # Layers made in another order than used: automatic names say nothing about the structure.
    model = zoo.zoo(keras, reverse=True)
    zoo.randomize(model, seed=1)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        model.save(path / "zoo.keras")
        model.save_weights(path / "zoo.weights.h5")
        try:
            model.save(path / "zoo.h5")
        except ValueError:  # before 3.6, two weights of one layer may not have one name
            (path / "zoo.h5").unlink()
        (path / "outputs.json").write_text(
            json.dumps(np.asarray(model(zoo.inputs())).astype(float).round(6).tolist())
        )
        with tarfile.open(HERE / f"{label}.tar.xz", "w:xz") as packed:
            for file in sorted(path.iterdir()):
                packed.add(file, file.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
