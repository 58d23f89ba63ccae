"""Which settings change the bits of a training: the same seeded trainings under each of them, in
fresh processes.

    .venv/bin/python scripts/benchmarks/bits.py [--repeats 3] [--other-python PATH]

Each setting is tried `--repeats` times. The table says whether a setting ends with the same bits as
the first process without any setting, how far the weights are off if it does not, and whether it
at least ends with the same bits each time. Another Python, with other versions of TensorFlow and
Keras, is one more row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MODELS = ("dense", "convolution", "recurrent", "embedding")
SETTINGS: dict[str, dict[str, Any]] = {
    "nothing set": {},
    "intra_op threads: 1": {"intra": 1},
    "intra_op threads: 2": {"intra": 2},
    "intra_op threads: 4": {"intra": 4},
    "inter_op threads: 1": {"inter": 1},
    "inter_op threads: 4": {"inter": 4},
    "TF_ENABLE_ONEDNN_OPTS=0": {"env": {"TF_ENABLE_ONEDNN_OPTS": "0"}},
    "ONEDNN_MAX_CPU_ISA=AVX2": {"env": {"ONEDNN_MAX_CPU_ISA": "AVX2"}},
    "enable_op_determinism()": {"determinism": True},
    "jit_compile=True": {"compile": {"jit_compile": True}},
    "run_eagerly=True": {"compile": {"run_eagerly": True}},
    "steps_per_execution=5": {"compile": {"steps_per_execution": 5}},
    "map with 4 parallel calls, prefetch": {"parallel": True},
    "the same, deterministic=False": {"parallel": True, "unordered": True},
    "mixed_bfloat16": {"policy": "mixed_bfloat16"},
}


# -- the training process


def make_model(kind: str, options: dict[str, Any]) -> Any:
    import keras
    from keras import layers

    stacks = {
        "dense": [
            keras.Input((64,)),
            layers.Dense(1024, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(512, "gelu"),
        ],
        "convolution": [
            keras.Input((64,)),
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(64, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
        ],
        "recurrent": [
            keras.Input((64,)),
            layers.Reshape((16, 4)),
            layers.LSTM(64, dropout=0.2),
            layers.Dense(64, "tanh"),
        ],
        "embedding": [
            keras.Input((64,)),
            layers.Discretization(bin_boundaries=[-1.0, -0.3, 0.3, 1.0]),
            layers.Embedding(5, 32),
            layers.GlobalAveragePooling1D(),
            layers.Dense(64, "relu"),
        ],
    }
    model = keras.Sequential([*stacks[kind], layers.Dense(1, dtype="float32")])
    model.compile(keras.optimizers.Adam(1e-3), "mse", **options)
    return model


def train(options: dict[str, Any], directory: Path) -> None:
    import keras
    import numpy as np
    import tensorflow as tf

    if "intra" in options:
        tf.config.threading.set_intra_op_parallelism_threads(options["intra"])
    if "inter" in options:
        tf.config.threading.set_inter_op_parallelism_threads(options["inter"])
    if options.get("determinism"):
        keras.utils.set_random_seed(1)
        tf.config.experimental.enable_op_determinism()
    generator = np.random.default_rng(3)
    x = generator.normal(size=(2048, 64)).astype("float32")
    y = (x[:, :1] * x[:, 1:2] + generator.normal(size=(2048, 1))).astype("float32")
    for kind in MODELS:
        keras.backend.clear_session()
        keras.config.set_dtype_policy(options.get("policy", "float32"))
        keras.utils.set_random_seed(1)
        data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(512, seed=5)
        if options.get("parallel"):
            data = (
                data.map(
                    lambda a, b: (a * 1.0, b),
                    num_parallel_calls=4,
                    deterministic=not options.get("unordered"),
                )
                .batch(64)
                .prefetch(4)
            )
        else:
            data = data.batch(64)
        model = make_model(kind, options.get("compile", {}))
        model.fit(data, epochs=2, shuffle=False, verbose=0)
        np.savez(
            directory / f"{kind}.npz",
            *[np.asarray(variable) for variable in model.trainable_variables],
        )
    versions = {
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
        "NumPy": np.__version__,
        "Python": platform.python_version(),
    }
    (directory / "versions.json").write_text(json.dumps(versions))


# -- the process that compares


def run(python: str, options: dict[str, Any], directory: Path) -> None:
    directory.mkdir()
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        **options.get("env", {}),
    }
    command = [python, __file__, "--train", json.dumps(options), "--into", str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"the training with {options} ended with exit code {done.returncode}:\n{done.stderr}"
        )


def difference(a: Path, b: Path) -> float:
    """The largest difference between two weights, in parts of the largest weight of their array; 0
    if all bits are the same.
    """
    import numpy as np

    with np.load(a) as first, np.load(b) as second:
        if all(first[name].tobytes() == second[name].tobytes() for name in first.files):
            return 0.0
        return max(
            float(np.abs(first[name] - second[name]).max() / np.abs(first[name]).max())
            for name in first.files
        )


def row(expected: Path, tried: list[Path]) -> list[str]:
    cells = []
    for kind in MODELS:
        again = all(
            difference(tried[0] / f"{kind}.npz", each / f"{kind}.npz") == 0 for each in tried[1:]
        )
        off = max(difference(expected / f"{kind}.npz", each / f"{kind}.npz") for each in tried)
        cells.append(
            ("same" if off == 0 else f"{off:.0e}") + ("" if again else ", each time another")
        )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeats", type=int, default=3, help="processes for each setting, at least 2"
    )
    parser.add_argument(
        "--other-python", help="the Python of another environment, for one more row"
    )
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        train(options.train, options.into)
        return
    rows = [(name, sys.executable, setting) for name, setting in SETTINGS.items()]
    if options.other_python:
        rows.append(("", options.other_python, {}))
    with tempfile.TemporaryDirectory() as directory:
        expected = Path(directory) / "0-0"
        print(f"| setting | {' | '.join(MODELS)} |\n|---|{'---|' * len(MODELS)}")
        for number, (name, python, setting) in enumerate(rows):
            tried = [Path(directory) / f"{number}-{repeat}" for repeat in range(options.repeats)]
            for each in tried:
                run(python, setting, each)
            versions = json.loads((tried[0] / "versions.json").read_text())
            name = name or ", ".join(
                f"{package} {version}" for package, version in versions.items()
            )
            print(f"| {name} | {' | '.join(row(expected, tried))} |", flush=True)
        versions = json.loads((expected / "versions.json").read_text())
    cores = os.cpu_count()
    print(
        f"\n{', '.join(f'{package} {version}' for package, version in versions.items())}; "
        f"{cpu()}, {cores} cores, no GPU"
    )


def cpu() -> str:
    """The processor's name, if Linux knows it."""
    path = Path("/proc/cpuinfo")
    names = (
        [
            line.partition(":")[2].strip()
            for line in path.read_text().splitlines()
            if line.startswith("model name")
        ]
        if path.exists()
        else []
    )
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
