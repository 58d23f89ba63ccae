"""`export_saved_model`: exports a model outside a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptkit.export.export_spec import ExportSpec
from ckptkit.export.publishing import export
from ckptkit.exports.version_directories import check_base
from ckptkit.log import show_by_default
from ckptkit.storage.files import FileSystem


def export_saved_model(
    model: Any,
    directory: str | os.PathLike[str],
    *,
    signatures: Mapping[str, Any] | None = None,
    sample: Any = None,
    version: int | None = None,
    keep: int | None = 2,
    rtol: float | None = None,
    atol: float | None = None,
    limit_secs: float = 300.0,
    imports: tuple[str, ...] = (),
    allow_nan: bool = False,
    files: FileSystem | None = None,
) -> Path:
    """Export a model for serving, as `<directory>/<version>/`, after verifying it.

    A fresh process loads the export and must compute the same values as the live model.

    A Keras model has the signatures `serving_default` and `serve`, as from Keras' own
    `model.export`. A `tf.Module` has those of `__call__` and of its methods with a
    `@tf.function(input_signature=...)`. A function has its own. Optimizers are not exported. The
    record `EXPORT.json` is written next to the SavedModel.

    Args:
        model: a Keras model or layer, a `tf.Module`, a function or a `tf.function`.
        directory: the base directory, as TensorFlow Serving expects it: one numbered directory for
            each version.
        signatures: further signatures by name: functions, `tf.function`s, Keras models or layers.
            `(function, specs)` adds the form of the inputs: a `tf.TensorSpec`, a list for several
            arguments, or a dictionary by parameter. The model itself is exported as well and is
            `serving_default`, unless a signature has that name or is the model.
        sample: a batch of inputs to check the export with, and to build a model that is not built.
            For a function with several arguments it is a tuple; for several signatures a dictionary
            by their names. Without a sample, inputs are made from the form of the inputs.
        version: the version number; the default is the time in seconds since the epoch. It must be
            larger than all existing ones.
        keep: number of versions to keep, including the new one; None keeps all. Only versions with
            an `EXPORT.json` are deleted.
        rtol: relative tolerance for values that are not equal bit for bit; the default is 1e-3, or
            2e-2 if the model computes in 16 bits.
        atol: absolute tolerance, in units of the largest finite value of an output; the default is
            a hundredth of `rtol`.
        limit_secs: time limit for the fresh process in seconds, counted from the request. Writing
            and syncing do not count.
        imports: modules of installed libraries that the fresh process imports first, for operations
            outside TensorFlow, as `("tensorflow_text",)`. The default is none.
        allow_nan: whether to publish variables with NaN, or with infinity in trained ones.
        files: the file system; tests pass their own.

    Returns:
        The published directory.

    Raises:
        ExportError: If the model cannot be exported, has NaN or infinity in its variables, or
            the loaded export differs from it; no version is left behind.
        ConfigError: If an argument is invalid.
        StorageError: If the disk refuses.

    Example:
        >>> import ckptkit, keras, pathlib
        >>> base = pathlib.Path("runs/new") / "export"
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> ckptkit.export_saved_model(model, base, version=7).name
        '7'
    """
    spec = ExportSpec(
        directory=directory,
        signatures=signatures,
        sample=sample,
        keep=keep,
        rtol=rtol,
        atol=atol,
        limit_secs=limit_secs,
        imports=imports,
    )
    show_by_default()
    return export(
        model, check_base(directory), spec, version=version, files=files, finite=not allow_nan
    ).path
