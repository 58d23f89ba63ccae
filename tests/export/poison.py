"""Exports that are not what the live model is: what is said, and what is left. Runs in a process
that has TensorFlow.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.export import publishing
from ckptkit.export.check_process import Checker
from tests.support import checkers
from tests.support.disks import Disk, finishes_files, starts_a_save


def tampering(action: Callable[[Path], object], *, early: bool = False) -> Disk:
    """A disk that does something to what was written, once, before it is proven.

    Args:
        action: is given the directory that was written.
        early: before anything is written, instead.
    """
    return Disk().after(starts_a_save if early else finishes_files, action, times=1)


def model(rng: np.random.Generator) -> keras.Model:
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    for variable in made.variables:
        variable.assign(rng.normal(size=variable.shape))
    return made


def change_one_bit(root: Path) -> None:
    """Of one weight, in a bundle that is whole by itself."""
    prefix = str(root / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    names = sorted(reader.get_variable_to_shape_map())
    values = {
        name: np.array(reader.get_tensor(name))
        if name.endswith("VALUE")
        else tf.constant(reader.get_tensor(name))
        for name in names
    }
    name = next(name for name in names if name.endswith("VALUE") and values[name].size > 4)
    values[name].view(np.uint8).reshape(-1)[0] ^= 1
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )
    for path in list((root / "variables").glob("*.data-*")):
        assert path.name == "variables.data-00000-of-00001"


def remove_assets(root: Path) -> None:
    (asset,) = (root / "assets").iterdir()
    asset.unlink()


def in_graphs_only(x: tf.Tensor, otherwise: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    return x if tf.executing_eagerly() else otherwise(x)


def with_table(directory: Path) -> tf.Module:
    words = directory / "words.txt"
    words.write_text("a\nb\n")

    class Table(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            numbers = tf.lookup.TextFileInitializer(
                str(words),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticVocabularyTable(numbers, 1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, x: Any) -> Any:
            return self.table.lookup(x)

    return Table()


def interrupt(root: Path) -> None:
    raise KeyboardInterrupt


def refusals(directory: str, seed: int) -> dict[str, Any]:
    """Each way to be refused: what was said, and what is left in the base directory beside the
    version that was there.
    """
    cheap = checkers.forked()
    rng, base = np.random.default_rng(seed), Path(directory) / "base"
    x = rng.normal(size=(3, 4)).astype("float32")
    checkers.use(cheap)
    good = ckptkit.export_saved_model(with_table(Path(directory)), base, sample=["a", "c"])
    before = bits(good)
    made = model(rng)
    cases: dict[str, Callable[[], Any]] = {
        "nan": lambda: ckptkit.export_saved_model(
            lambda x: in_graphs_only(x, lambda x: x * float("nan")), base, sample=x
        ),
        "one nan of many signatures": lambda: ckptkit.export_saved_model(
            made,
            base,
            sample={"odd": x},
            signatures={
                "odd": lambda x: in_graphs_only(x, lambda x: tf.where(x == x[0, 0], np.nan, x))
            },
        ),
        "other values": lambda: ckptkit.export_saved_model(
            lambda x: in_graphs_only(x, lambda x: x + 0.01), base, sample=x
        ),
        "another shape": lambda: ckptkit.export_saved_model(
            lambda x: in_graphs_only(x, lambda x: x[:1]), base, sample=x
        ),
        "another type": lambda: ckptkit.export_saved_model(
            lambda x: in_graphs_only(x, lambda x: tf.cast(x, tf.float64)), base, sample=x
        ),
        "changed weight": lambda: ckptkit.export_saved_model(
            made, base, files=tampering(change_one_bit)
        ),
        "missing asset": lambda: ckptkit.export_saved_model(
            with_table(Path(directory)), base, sample=["a"], files=tampering(remove_assets)
        ),
        "broken graph": lambda: ckptkit.export_saved_model(
            made, base, files=tampering(lambda root: (root / "saved_model.pb").write_bytes(b"half"))
        ),
        "code of this process": lambda: ckptkit.export_saved_model(
            lambda x: tf.numpy_function(np.sin, [x], tf.float32), base, sample=x
        ),
        "a link": lambda: ckptkit.export_saved_model(
            made,
            base,
            files=tampering(lambda root: (root / "link").symlink_to(directory), early=True),
        ),
        "interrupted": lambda: ckptkit.export_saved_model(made, base, files=tampering(interrupt)),
        "never built": lambda: ckptkit.export_saved_model(
            keras.Sequential([keras.layers.Dense(1)]), base
        ),
        "unknown inputs": lambda: ckptkit.export_saved_model(lambda x: x, base),
        "another sample": lambda: ckptkit.export_saved_model(made, base, sample=x[:, :3]),
        "ragged": lambda: ckptkit.export_saved_model(
            lambda x: tf.RaggedTensor.from_tensor(x), base, sample=x
        ),
        "no such table": lambda: ckptkit.export_saved_model(hidden_table(), base, sample=["a"]),
    }
    said = {name: refusal(case) for name, case in cases.items()}
    checkers.use(Checker)
    said["no time"] = refusal(lambda: ckptkit.export_saved_model(made, base, limit_secs=0.3))
    checkers.use(lambda limit_secs, hurried: Checker(limit_secs, lambda: True))
    said["to stop"] = refusal(lambda: ckptkit.export_saved_model(made, base))
    checkers.use(functools.partial(Checker, python="/bin/false"))
    said["no Python"] = refusal(lambda: ckptkit.export_saved_model(made, base))
    checkers.use(functools.partial(Checker, python=""))
    said["unknown Python"] = refusal(lambda: ckptkit.export_saved_model(made, base))
    checkers.use(cheap)
    assert publishing.Checker is cheap
    left = sorted(path.name for path in base.iterdir())
    return {"said": said, "left": left, "good": good.name, "unchanged": bits(good) == before}


def hidden_table() -> Any:
    """One that nobody finds: a generator has it."""

    def tables() -> Iterator[Any]:
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), -1)
        while True:
            yield table

    found = tables()
    return lambda x: next(found).lookup(x)


def refusal(case: Callable[[], Any]) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = case()
    except BaseException as error:
        return [type(error).__name__, str(error)]
    return ["published", os.fspath(path)]


def bits(path: Path) -> dict[str, str]:
    return {
        str(each): each.read_bytes().hex() for each in sorted(path.rglob("*")) if each.is_file()
    }
