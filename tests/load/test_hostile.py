"""Files that somebody else has made: a clean error each, nothing run, no memory taken for what is
only claimed.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import shutil
import zipfile
from contextlib import contextmanager

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.cli import main
from ckptkit.load import formats, hdf5, model_description
from tests.load.conftest import bits, network

WAYS = [
    ckptkit.load_model,
    lambda path: ckptkit.load_weights(network(), path),
    lambda path: model_description.describe(formats.recognise(path)),
]
"""load_model, load_weights, and what `ckptkit show` asks."""

HUGE = 10**12


@contextmanager
def little_memory():
    """Fails where the block takes more than a little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert taken < 400_000_000, f"{taken:,} bytes were taken"


def small() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(6), keras.layers.Dense(2)])


def rewritten(path, **members):
    """A .keras file with other members."""
    changed = path.with_name(f"changed-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            if name in members and members[name] is None:
                continue
            new.writestr(name, members.get(name, old.read(name)))
    return changed


@pytest.fixture(params=["model.keras", "model.weights.h5", "model.h5"])
def saved(request, tmp_path):
    model = small()
    path = tmp_path / request.param
    (model.save_weights if request.param == "model.weights.h5" else model.save)(path)
    return path


def inside(path, change):
    """Changes the HDF5 file that a path is, or that is in it."""
    if not path.name.endswith(".keras"):
        with h5py.File(path, "r+") as file:
            change(file)
        return path
    with zipfile.ZipFile(path) as zipped:
        inner = path.with_name("inner.h5")
        inner.write_bytes(zipped.read("model.weights.h5"))
    with h5py.File(inner, "r+") as file:
        change(file)
    return rewritten(path, **{"model.weights.h5": inner.read_bytes()})


def first_dataset(file):
    found = []
    file.visititems(
        lambda name, each: found.append(name) if isinstance(each, h5py.Dataset) else None
    )
    return found[0]


def external(file):
    name = first_dataset(file)
    del file[name]
    file[name] = h5py.ExternalLink("/etc/secrets.h5", "/weights")


def soft(file):
    name = first_dataset(file)
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def stored_elsewhere(file):
    name = first_dataset(file)
    del file[name]
    file.create_dataset(
        name, (4, 6), "float32", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    )


def virtual(file):
    name = first_dataset(file)
    del file[name]
    layout = h5py.VirtualLayout((4, 6), "float32")
    layout[:] = h5py.VirtualSource("/etc/secrets.h5", "weights", (4, 6))
    file.create_virtual_dataset(name, layout)


def huge(file):
    name = first_dataset(file)
    del file[name]
    file.create_dataset(name, (4, HUGE), "float32", chunks=(4, 1024), compression="gzip")


def empty(file):
    name = first_dataset(file)
    del file[name]
    file[name] = h5py.Empty("float32")


def texts(file):
    name = first_dataset(file)
    del file[name]
    file.create_dataset(name, (4, 6), h5py.string_dtype())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (empty, r"is empty\. Expected the values of a weight"),
        (texts, "holds object, not numbers"),
        (external, "ExternalLink"),
        (soft, "SoftLink"),
        (stored_elsewhere, "values in another file"),
        (virtual, "values in another file"),
        (huge, "declares the shape"),
    ],
)
def test_hdf5_that_leads_elsewhere_or_claims_too_much(saved, change, said, capsys):
    path = inside(saved, change)
    for way in WAYS:
        if path.name == "model.weights.h5" and way is WAYS[0]:
            continue
        with little_memory(), pytest.raises(ckptkit.CorruptCheckpointError, match=said):
            way(path)
    assert main(["show", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


class Ran(Exception):
    """Code of a file was run."""


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_lambda_layer_is_not_run(tmp_path, name):
    def run_me(x):
        raise Ran

    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Lambda(run_me, output_shape=(4,), name="trap")(inputs))
    model.save(tmp_path / name)
    for objects in (None, {"trap": run_me}):
        with pytest.raises(
            ckptkit.ConfigError, match=r"Lambda layer 'trap' contains a function.*safe_mode=False"
        ):
            ckptkit.load_model(tmp_path / name, objects)
    assert model_description.describe(formats.recognise(tmp_path / name)).model == "Functional"


def test_a_function_without_a_name_is_not_run(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation=lambda x: x)])
    model.save(tmp_path / "model.keras")
    with ckptkit.CheckpointManager(tmp_path / "run", {"model": model}) as manager:
        manager.save(1)
    for source in (tmp_path / "model.keras", tmp_path / "run"):
        with pytest.raises(ckptkit.ConfigError, match="contains a function without a name"):
            ckptkit.load_model(source)


@pytest.mark.parametrize("where", ["model.keras", "model.h5", "run"])
def test_a_model_that_is_described_as_huge_is_not_built(tmp_path, where):
    model = small()
    if where == "run":
        with ckptkit.CheckpointManager(tmp_path / "run", {"model": model}) as manager:
            manager.save(1)
        path = tmp_path / "run"
        (stored,) = (path / "architecture").iterdir()
        text = stored.read_text().replace('"units": 6', f'"units": {HUGE}')
        from ckptkit.run.architecture_file import file_name
        from ckptkit.run.manifest import seal

        other = stored.with_name(file_name(text.encode()))
        other.write_text(text)
        manifest = ckptkit.open_run(path).find().path / "manifest.json"
        content = json.loads(manifest.read_text())
        del content["digest"]
        content["states"][0]["architecture"] = other.name
        manifest.write_bytes(seal(json.dumps(content, indent=1).encode()))
    elif where == "model.keras":
        model.save(tmp_path / where)
        with zipfile.ZipFile(tmp_path / where) as zipped:
            config = zipped.read("config.json").decode()
        path = rewritten(
            tmp_path / where, **{"config.json": config.replace('"units": 6', f'"units": {HUGE}')}
        )
    else:
        model.save(tmp_path / where)
        path = tmp_path / where
        with h5py.File(path, "r+") as file:
            config = file.attrs["model_config"]
            assert '"units": 6' in config
            file.attrs["model_config"] = config.replace('"units": 6', f'"units": {HUGE}')
    with (
        little_memory(),
        pytest.raises(ckptkit.CorruptCheckpointError, match=f"variable of shape \\(4, {HUGE}\\)"),
    ):
        ckptkit.load_model(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    small().save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as old,
        zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        new.writestr("config.json", old.read("config.json"))
        new.writestr("metadata.json", old.read("metadata.json"))
        with new.open("model.weights.h5", "w", force_zip64=True) as inner:
            for _ in range(300):
                inner.write(bytes(1_000_000))
    for way in WAYS:
        with little_memory(), pytest.raises(ckptkit.CorruptCheckpointError, match="are stored"):
            way(tmp_path / "bomb.keras")


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_a_keras_file_that_is_not_whole(tmp_path, missing):
    small().save(tmp_path / "model.keras")
    path = rewritten(tmp_path / "model.keras", **{missing: None})
    with pytest.raises(ckptkit.CorruptCheckpointError, match=f"does not contain {missing}"):
        ckptkit.load_model(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"PK\x03\x04 and no more of it",
        b"\x89HDF\r\n\x1a\n",
        b"\x89HDF\r\n\x1a\nand no more",
        b"a text",
    ],
)
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.weights.h5", "saved_model.pb"])
def test_what_only_begins_like_a_format(tmp_path, name, content):
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes(content)
    for way in (*WAYS, ckptkit.load_exported):
        with pytest.raises(ckptkit.CheckpointError):
            way(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model with an optimizer that has a state, and its file."""
    model = small()
    model.compile(keras.optimizers.Adam(), "mse")
    model.train_on_batch(np.ones((8, 4)), np.ones((8, 2)))
    path = tmp_path_factory.mktemp("trained") / "model.h5"
    model.save(path)
    return model, path


@pytest.fixture
def compiled(trained, tmp_path):
    """A copy of the file."""
    return shutil.copy(trained[1], tmp_path)


def as_records(dataset):
    return np.zeros(dataset.shape, [("a", "f4"), ("b", "i8")])


def as_texts(dataset):
    return np.zeros(dataset.shape, "S4")


def as_fractions(dataset):
    return np.zeros(dataset.shape, "f4")


def as_two_bytes(dataset):
    return np.zeros(dataset.shape, "V2")


@pytest.mark.parametrize(
    ("number", "other"),
    [
        (0, as_records),
        (0, as_texts),
        (0, as_fractions),
        (3, as_records),
        (3, as_texts),
        (3, as_two_bytes),
        (-1, as_records),
        (-1, as_texts),
    ],
)
def test_an_optimizers_state_of_another_kind(compiled, number, other):
    with h5py.File(compiled, "r+") as file:
        group = file["optimizer_weights"]
        name = hdf5.names(group, "weight_names")[number]
        values = other(group[name])
        del group[name]
        group[name] = values
    assigned = []
    with (
        _watched(assigned),
        pytest.raises(ckptkit.CorruptCheckpointError, match=f"{name} has values of the wrong type"),
    ):
        ckptkit.load_model(compiled)
    assert not assigned, "all or nothing"


@contextmanager
def _watched(assigned):
    """Notes what is assigned to variables of an optimizer."""

    class Watched(keras.optimizers.Adam):
        def build(self, variables):
            super().build(variables)
            for variable in self.variables:
                variable.assign = assigned.append

    plain, keras.optimizers.deserialize = (
        keras.optimizers.deserialize,
        lambda config: Watched.from_config(plain(config).get_config()),
    )
    try:
        yield
    finally:
        keras.optimizers.deserialize = plain


@pytest.mark.parametrize(
    "optimizer", [None, "missing", 3, [], {}, {"class_name": None, "config": {}}]
)
def test_arguments_of_compile_without_an_optimizer(compiled, optimizer):
    with h5py.File(compiled, "r+") as file:
        training = json.loads(file.attrs["training_config"])
        training["optimizer_config"] = optimizer
        if optimizer == "missing":
            del training["optimizer_config"]
        file.attrs["training_config"] = json.dumps(training)
    with pytest.raises(
        ckptkit.CorruptCheckpointError,
        match=r"does not name its optimizer.*load_weights",
    ):
        ckptkit.load_model(compiled)


@pytest.mark.parametrize(
    "names", [3, b"adam/iteration", [1.5, 2.5], h5py.Empty("f4"), [[b"a", b"b"]]]
)
def test_an_optimizers_state_under_no_names(compiled, names):
    with h5py.File(compiled, "r+") as file:
        file["optimizer_weights"].attrs["weight_names"] = names
    with pytest.raises(ckptkit.CorruptCheckpointError, match="not a list of names"):
        ckptkit.load_model(compiled)


@pytest.mark.parametrize("missing", ["dataset", "group"])
def test_an_optimizers_state_that_leads_elsewhere(compiled, missing):
    with h5py.File(compiled, "r+") as file:
        name = "optimizer_weights" + (
            "/" + hdf5.names(file["optimizer_weights"], "weight_names")[2]
            if missing == "dataset"
            else ""
        )
        del file[name]
        file[name] = h5py.SoftLink("/elsewhere")
    with pytest.raises(ckptkit.CorruptCheckpointError, match="SoftLink"):
        ckptkit.load_model(compiled)


def test_an_optimizers_state_in_other_widths_is_taken(trained, compiled):
    """Another version of Keras counts in another width."""
    with h5py.File(compiled, "r+") as file:
        group = file["optimizer_weights"]
        for name in hdf5.names(group, "weight_names"):
            values = group[name][()]
            del group[name]
            group[name] = values.astype("i4" if values.dtype.kind == "i" else "f8")
    again = ckptkit.load_model(compiled)
    assert [value.numpy().tobytes() for value in again.optimizer.variables] == [
        value.numpy().tobytes() for value in trained[0].optimizer.variables
    ]


def weights_in(path):
    """The bits of the weights that `load_weights` reads into a model of the right form."""
    model = small()
    ckptkit.load_weights(model, path)
    return bits(model)


def test_a_file_that_was_cut_off_is_an_error_or_complete(saved, seed):
    """A cut may remove only padding; then every weight is still there."""
    whole, expected, rng = saved.read_bytes(), weights_in(saved), random.Random(seed)
    failed = 0
    for _ in range(12):
        saved.write_bytes(whole[: rng.randrange(len(whole))])
        for way in WAYS:
            with contextlib.suppress(ckptkit.CheckpointError):
                way(saved)
        try:
            assert weights_in(saved) == expected
        except ckptkit.CheckpointError:
            failed += 1
    assert failed


def test_a_flipped_bit_is_an_error_or_changes_nothing_of_the_form(saved, seed):
    """HDF5 has no checksum of values, so only the archive (.keras) can promise the same bits."""
    whole, expected, rng = saved.read_bytes(), weights_in(saved), random.Random(seed)
    for _ in range(12):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        saved.write_bytes(content)
        for way in WAYS:
            with contextlib.suppress(ckptkit.CheckpointError):
                way(saved)
        with contextlib.suppress(ckptkit.CheckpointError):
            found = weights_in(saved)
            assert len(found) == len(expected)
            assert saved.suffix != ".keras" or found == expected


@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
def test_a_damaged_tensorflow_checkpoint_assigns_nothing(tmp_path, part):
    prefix = tf.train.Checkpoint(model=small()).write(str(tmp_path / "ckpt"))
    model = small()
    before = bits(model)
    path = tmp_path / f"ckpt{part}"
    content = path.read_bytes()
    for damaged in (content[:-20], content[:1], b"", bytes(len(content))):
        path.write_bytes(damaged)
        with pytest.raises(ckptkit.CorruptCheckpointError):
            ckptkit.load_weights(model, prefix)
        assert bits(model) == before


def test_a_damaged_saved_model(tmp_path):
    small().export(tmp_path / "export", verbose=False)
    for name in (
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ):
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "export", copy)
        (copy / name).write_bytes((copy / name).read_bytes()[:-30])
        with pytest.raises(ckptkit.CheckpointError):
            ckptkit.load_exported(copy)
        shutil.rmtree(copy)


@pytest.mark.parametrize("source", [None, 3, "", "a\0b", "gs://bucket/model.keras", b"model"])
def test_what_is_no_path(source):
    for call in (
        ckptkit.load_model,
        ckptkit.load_exported,
        lambda path: ckptkit.load_weights(small(), path),
    ):
        with pytest.raises(ckptkit.ConfigError):
            call(source)


def test_a_pipe_holds_nobody_up(tmp_path):
    import os

    os.mkfifo(tmp_path / "model.keras")
    with pytest.raises(ckptkit.CorruptCheckpointError):
        ckptkit.load_model(tmp_path / "model.keras")
