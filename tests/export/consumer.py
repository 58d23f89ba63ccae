"""Somebody who has TensorFlow and an export, and neither ckptkit nor the model's code: run with
`python -I`, so that neither can be imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(directory: Path) -> None:
    """Runs every signature on its inputs, and says what is different from the live model."""
    problems = []
    for name, said in json.loads((directory / "said.json").read_text()).items():
        loaded = tf.saved_model.load(said["path"])
        arrays = np.load(directory / f"{name}.npz")
        signatures = {key.split("/")[1] for key in arrays.files}
        for signature in sorted(signatures):
            given = {
                key.split("/", 2)[2]: tf.constant(arrays[key])
                for key in arrays.files
                if key.startswith(f"in/{signature}/")
            }
            expected = {
                key.split("/", 2)[2]: arrays[key]
                for key in arrays.files
                if key.startswith(f"out/{signature}/")
            }
            out = loaded.signatures[signature](**given)
            for key, value in expected.items():
                if not np.allclose(
                    out[key].numpy(),
                    value,
                    rtol=2e-2 if name == "mixed_precision" else 1e-5,
                    atol=1e-6,
                ):
                    problems.append(f"{name}/{signature}/{key}: {out[key].numpy()} is not {value}")
    modules = sorted(
        module for module in sys.modules if module.split(".")[0] in ("tests", "ckptkit")
    )
    print(json.dumps({"problems": problems, "modules": modules, "path": sys.path}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
