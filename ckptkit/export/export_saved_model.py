"""Exporting a model on its own."""

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
    files: FileSystem | None = None,
) -> Path:
    """Exports a model for serving as `<directory>/<version>/`, when a fresh process has loaded it
    and has got what the live model gives.

    A Keras model has the signatures `serving_default` and `serve`, as Keras' own `model.export`
    makes them; a `tf.Module` those of `__call__` and of its methods with a
    `@tf.function(input_signature=...)`; a function itself. Optimizers stay behind. Beside the
    SavedModel lies `EXPORT.json`.

    Args:
        model: a Keras model or layer, a `tf.Module`, a function or a `tf.function`.
        directory: the base directory, as TensorFlow Serving expects it: one numbered directory for
            each version.
        signatures: further signatures by name: functions, `tf.function`s, Keras models or layers;
            or `(function, specs)` with the form of its inputs, a `tf.TensorSpec`, a list of them
            for several arguments, or a dictionary by parameter. The model itself is exported beside
            them, and is `serving_default`, unless one of them has that name, or is the model.
        sample: a batch of inputs to check it with, and to build a model that is not built; for a
            function with several arguments a tuple, and with several signatures a dictionary by
            their names. Where there is none, inputs are made from the form of the inputs.
        version: its number; by default the time in seconds since the epoch. Always larger than
            those that are there.
        keep: how many versions stay, the new one among them; None keeps all. Only versions with an
            `EXPORT.json` are taken away.
        rtol: the relative tolerance where values are not equal bit for bit; by default 1e-3, and
            2e-2 where the model computes in 16 bits.
        atol: the absolute one, in units of the largest finite value of an output; by default a
            hundredth of `rtol`.
        limit_secs: how long the fresh process may take to answer, from when it is asked; writing
            and syncing do not count.
        imports: modules of installed libraries that the fresh process imports first, for operations
            that TensorFlow alone does not have, as `("tensorflow_text",)`. By default none.
        files: how the disk is changed; for tests.

    Returns:
        The published directory.

    Raises:
        ExportError: If the model cannot be exported, or is not what it should be when it is
            loaded; no version is left behind.
        ConfigError: If an argument cannot be right.
        StorageError: If the disk refuses.

    Example:
        >>> import ckptkit, keras, pathlib
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> ckptkit.export_saved_model(model, pathlib.Path(new_directory) / "export", version=7).name
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
    return export(model, check_base(directory), spec, version=version, files=files).path
