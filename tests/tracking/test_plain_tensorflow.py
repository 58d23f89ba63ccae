"""Checkpoints are TensorFlow's own files: a program without ckptkit reads them."""

from __future__ import annotations

import json

SAVE = """
    import json, sys
    import keras, numpy as np, tensorflow as tf
    import ckptkit
    from tests.tracking.programs import bits

    class Waiting:
        def get_state(self): return {"wait": 3, "best": np.arange(3.0)}
        def set_state(self, state): pass

    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    own = keras.optimizers.SGD(0.1, momentum=0.9)
    own.build(model.trainable_variables)
    counter = tf.Variable(3, dtype=tf.int64)
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, -1.0)
    table.insert(["a", "b"], [1.0, 2.0])
    batches = iter(tf.data.Dataset.range(10).shuffle(5))
    state = {
        "model": model,
        "own": own,
        "counter": counter,
        "table": table,
        "batches": batches,
        "waiting": Waiting(),
    }
    with ckptkit.CheckpointManager(sys.argv[1], state, keep=ckptkit.KeepLatest(2)) as manager:
        for step in (5, 90, 100):
            model.train_on_batch(np.random.normal(size=(8, 4)), np.random.normal(size=(8, 3)))
            manager.save(step)
    seeds = model.layers[-1].seed_generator.state
    roles = {
        "model/weights": model.weights,
        "model/seeds": [seeds],
        "model/optimizer": model.optimizer.variables,
        "model/metrics": model.metrics_variables,
        "own/optimizer": own.variables,
        "counter/variables": [counter],
    }
    print(
        json.dumps(
            {
                f"{role}/{index}": bits(variable)
                for role, variables in roles.items()
                for index, variable in enumerate(variables)
            }
        )
    )
"""

READ = """
    import hashlib, json, os, sys
    import tensorflow as tf

    newest = tf.train.latest_checkpoint(os.path.join(sys.argv[1], "checkpoints"))
    with open(os.path.join(os.path.dirname(newest), "manifest.json")) as file:
        manifest = json.load(file)
    reader = tf.train.load_checkpoint(newest)
    names = set(reader.get_variable_to_dtype_map())
    found = {}
    for entry in manifest["tensors"]:
        name = entry["key"] + "/.ATTRIBUTES/VARIABLE_VALUE"
        names.discard(name)
        if entry["dtype"] == "variant":  # NumPy has no such type
            tf.raw_ops.RestoreV2(
                prefix=newest, tensor_names=[name], shape_and_slices=[""], dtypes=[tf.variant]
            )
            found[entry["key"]] = "variant"
            continue
        value = reader.get_tensor(name)
        assert (
            tf.as_dtype(value.dtype if not isinstance(value, bytes) else tf.string).name
            == entry["dtype"]
        ), entry
        if isinstance(value, bytes):
            found[entry["key"]] = value.decode()
        elif entry["kind"] == "variable":
            assert list(value.shape) == entry["shape"], entry
            found[entry["key"]] = [
                str(value.dtype),
                list(value.shape),
                hashlib.sha256(value.tobytes()).hexdigest(),
            ]
        else:
            found[entry["key"]] = (
                value.tolist() if value.dtype != object else [text.decode() for text in value]
            )
    assert "ckptkit" not in sys.modules
    print(
        json.dumps(
            {
                "newest": newest,
                "step": manifest["step"],
                "found": found,
                "not in the manifest": sorted(names),
            }
        )
    )
"""


def test_plain_tensorflow_finds_the_newest_and_reads_every_tensor_by_its_key(
    tf_process, fresh_process, tmp_path
):
    saved = json.loads(tf_process(SAVE, tmp_path / "run").check().stdout.splitlines()[-1])
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    read = json.loads(fresh_process(READ, moved, env={"PYTHONPATH": None}).check().stdout)
    assert read["step"] == 100
    assert read["newest"] == str(moved / "checkpoints" / "ckpt-100-1" / "ckpt-100")
    found = read["found"]
    assert {key: value for key, value in found.items() if key in saved} == saved
    others = {
        key: value
        for key, value in found.items()
        if key not in saved and key.split("/")[0] in ("waiting", "table", "batches")
    }
    assert json.loads(others.pop("waiting/state/0")) == {"wait": 3, "best": {"__array__": 0}}
    assert others.pop("waiting/state/0/arrays/0") == [0.0, 1.0, 2.0]
    table = dict(
        zip(
            others.pop("table/trackables/0/-keys"),
            others.pop("table/trackables/0/-values"),
            strict=True,
        )
    )
    assert table == {"a": 1.0, "b": 2.0}
    assert others == {"batches/trackables/0/_STATE": "variant"}
    # TensorFlow's own description of the objects, and its counter of saves.
    assert all(
        name.startswith(("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter"))
        for name in read["not in the manifest"]
    )


def test_the_newest_is_what_was_written_last_also_after_going_back(tf_process, tmp_path):
    process = tf_process(
        """
        import os, sys, tensorflow as tf, ckptkit
        weight = tf.Variable(0.0)
        def newest():
            return os.path.relpath(
                tf.train.latest_checkpoint(sys.argv[1] + "/checkpoints"), sys.argv[1]
            )
        def manager():
            return ckptkit.CheckpointManager(
                sys.argv[1], {"weight": weight}, keep=ckptkit.KeepLatest(9), background=False
            )
        with manager() as first:
            for step in (9, 10):
                first.save(step)
                print(newest())
        with manager() as second:
            second.restore(9)
            second.save(9)
            print(
                newest(),
                len(
                    tf.train.get_checkpoint_state(
                        sys.argv[1] + "/checkpoints"
                    ).all_model_checkpoint_paths
                ),
            )
    """,
        tmp_path / "run",
    ).check()
    assert process.stdout.split() == [
        "checkpoints/ckpt-9-1/ckpt-9",
        "checkpoints/ckpt-10-1/ckpt-10",
        "checkpoints/ckpt-9-2/ckpt-9",
        "3",
    ]
