"""A real export: a small Keras model, TensorFlow's writing, the fresh process that checks it; and
what is found after it was killed.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import ckptkit
from ckptkit.exports import version_directories
from ckptkit.exports.export_record import read_export
from ckptkit.run.verify import file_entry
from ckptkit.storage.operations import Rename
from ckptkit.testing import FaultyFiles


def model(version: int) -> keras.Model:
    """A model that answers with its version."""
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    made.set_weights([np.full((1, 1), version, "float32")])
    return made


def export(base: str, version: int, at: int = 0, work: str | None = None) -> dict[str, int]:
    """Exports; with `at`, the process dies before that step. Returns how many steps there are, and
    how many make the version visible.

    What the check needs is kept in `work`. An environment would come too late to say so: the
    directory has been looked up by then.
    """
    tempfile.tempdir = work
    files = FaultyFiles()
    if at:
        files.kill(at=at)
    ckptkit.export_saved_model(model(version), base, version=version, keep=2, files=files)
    visible = next(
        number
        for number, step in enumerate(files.steps, 1)
        if isinstance(step, Rename) and step.target.name == str(version)
    )
    return {"steps": len(files.steps), "visible": visible}


def look_and_go_on(base: str, version: int) -> dict[str, Any]:
    """What a server would find, all of it whole; and what is there after another export."""
    for each in version_directories.list_versions(Path(base)):
        entries = {
            path.relative_to(each.path).as_posix(): path
            for path in each.path.rglob("*")
            if path.is_file() and path.name != "EXPORT.json"
        }
        for entry in read_export(each.path).files:
            assert replace(file_entry(entries.pop(entry.name)), name=entry.name) == entry, (
                f"{each.path} is not whole"
            )
        assert not entries, f"{each.path} has {sorted(entries)}, which its record does not know"
    served = ckptkit.load_exported(base)
    found = {"version": served.version, "value": served(np.ones((1, 1), "float32")).item()}
    export(base, version)
    return {**found, "left": sorted(path.name for path in Path(base).iterdir())}
