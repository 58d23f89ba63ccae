"""The program that checks an export, in a fresh process without the user's code, as in a server.

It is started by its path, `python -I check_program.py WORK PATH...`, and imports nothing of
ckptkit. It needs TensorFlow only, which PATH... contains. It imports TensorFlow first and reads
requests afterwards, so that the export can be written meanwhile. A request is one line of JSON on
standard input:

    {"directory": ..., "threads": [intra, inter], "limit_secs": ..., "imports": [module],
     "signatures": {name: {"inputs": {input: file}, "prefix": ...}}}

Each file in WORK holds one serialized tensor; files of outputs start with the prefix. The answer is
WORK/answer-0.json, and so on for further requests:

    {"error": null | [type, message], "device": ..., "secs": ..., "signatures": {name: {"error":
    ..., "outputs": {output: [file, dtype]}}}}
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main(work: Path, paths: list[str]) -> None:
    """Import TensorFlow and answer requests."""
    asking = os.getppid()
    sys.path += [path for path in paths if path not in sys.path]
    import tensorflow as tf

    # Standard input ends when the requesting process ends, so this process ends with it.
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        # The requesting process may have been killed and cannot end this one.
        signal.setitimer(signal.ITIMER_REAL, request["limit_secs"])
        if number == 0:
            intra, inter = request["threads"]
            tf.config.threading.set_intra_op_parallelism_threads(intra)
            tf.config.threading.set_inter_op_parallelism_threads(inter)
            tf.config.set_visible_devices([], "GPU")
        answer = work / f"answer-{number}.json"
        answer.with_suffix(".tmp").write_text(json.dumps(examine(tf, request, work)))
        answer.with_suffix(".tmp").rename(answer)
        signal.setitimer(signal.ITIMER_REAL, 0)
    if os.getppid() != asking:
        shutil.rmtree(work, ignore_errors=True)  # the requesting process was killed


def examine(tf: Any, request: dict[str, Any], work: Path) -> dict[str, Any]:
    """Load the export and run each signature on its inputs."""
    began = time.monotonic()
    try:
        for module in request["imports"]:
            importlib.import_module(module)
        # TensorFlow treats brackets and stars in a path as a pattern. The path "." has none.
        os.chdir(request["directory"])
        loaded = tf.saved_model.load(".")
    except Exception as error:
        return {
            "error": said(error),
            "device": "CPU",
            "secs": time.monotonic() - began,
            "signatures": {},
        }
    answers = {
        name: run(tf, loaded, name, asked, work) for name, asked in request["signatures"].items()
    }
    return {"error": None, "device": "CPU", "secs": time.monotonic() - began, "signatures": answers}


def run(tf: Any, loaded: Any, name: str, asked: dict[str, Any], work: Path) -> dict[str, Any]:
    """Run one signature and write its outputs to files."""
    try:
        signature = loaded.signatures[name]
        forms = signature.structured_input_signature[1]
        tensors = {
            key: tf.io.parse_tensor((work / file).read_bytes(), forms[key].dtype)
            for key, file in asked["inputs"].items()
        }
        # Restore variables after each signature, so that every one starts from the exported state.
        before = [(variable, variable.read_value()) for variable in signature.variables]
        outputs = {}
        for number, (key, tensor) in enumerate(sorted(signature(**tensors).items())):
            outputs[key] = [f"{asked['prefix']}{number}", tensor.dtype.name]
            (work / outputs[key][0]).write_bytes(tf.io.serialize_tensor(tensor).numpy())
        for variable, value in before:
            variable.assign(value)
    except Exception as error:
        return {"error": said(error), "outputs": {}}
    return {"error": None, "outputs": outputs}


def said(error: Exception) -> list[str]:
    """Return an error's type and message."""
    return [type(error).__name__, str(error)[:20_000]]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
