"""`ckptkit export`: from a run's directory to a served model, without the training program."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ckptkit.exports.export_record import read_export
from tests.support.processes import ROOT
from tests.support.schemas import printed

pytestmark = pytest.mark.xdist_group("exporting")

TRAIN = """
import sys
import keras, numpy as np
import ckptkit
keras.utils.set_random_seed(int(sys.argv[2]))
model = keras.Sequential([
    keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.BatchNormalization(),
    keras.layers.Dense(1)])
model.compile("adam", "mse")
x, y = np.random.rand(16, 4), np.random.rand(16, 1)
model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[
    ckptkit.CheckpointCallback(
        sys.argv[1], save=ckptkit.EveryNSteps(1), keep=ckptkit.KeepLatest(9), export=False,
        background=False)])
y = model.predict(x[:3], verbose=0)
np.savez(sys.argv[1] + "/expected.npz", x=x[:3].astype("float32"), y=y)
"""

SERVE = """
import sys
import numpy as np, tensorflow as tf
expected = np.load(sys.argv[2])
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
out = served(inputs=tf.constant(expected["x"]))["output_0"].numpy()
assert np.allclose(out, expected["y"], rtol=1e-5), (out, expected["y"])
"""


def called(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ckptkit", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def trained(fork_server, tmp_path_factory, request):
    run = tmp_path_factory.mktemp("trained") / "run"
    fork_server.run(TRAIN, run, id(request) % 10_000, env={"CUDA_VISIBLE_DEVICES": ""}).check()
    return run


def test_a_run_becomes_a_served_model(trained, tmp_path):
    done = called("export", trained, tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    said = printed("export", done.stdout)
    assert (said["step"], said["is_new"], said["proofs"]) == (4, True, {"serve": "equal_bits"})
    assert said["check_secs"] > 0
    record = read_export(tmp_path / "out" / said["path"].rpartition("/")[2])
    assert (record.source.step, record.source.checkpoint, record.source.weights) == (
        4,
        said["checkpoint"],
        "final",
    )
    served = subprocess.run(
        [sys.executable, "-I", "-c", SERVE, said["path"], trained / "expected.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert served.returncode == 0, served.stderr


@pytest.mark.long
def test_a_step_is_exported_once(trained, tmp_path):
    first, again, other = (
        called("export", trained, tmp_path / "out", "--step", step) for step in (2, 2, 3)
    )
    assert "published ckpt-2-1 as " in first.stdout
    assert "ckpt-2-1 is exported already" in again.stdout
    assert "published ckpt-3-1 as " in other.stdout
    steps = sorted(read_export(path).source.step for path in (tmp_path / "out").iterdir())
    assert steps == [2, 3]


OWN = """
import sys
import keras, numpy as np
import ckptkit
class Mine(keras.layers.Layer):
    def call(self, x):
        return 2 * x
model = keras.Sequential([keras.Input((4,)), Mine(), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0, callbacks=[
    ckptkit.CheckpointCallback(sys.argv[1], export=False, background=False)])
"""


def test_classes_of_ones_own_are_a_matter_for_python(fork_server, tmp_path):
    fork_server.run(OWN, tmp_path / "run", env={"CUDA_VISIBLE_DEVICES": ""}).check()
    done = called("export", tmp_path / "run", tmp_path / "out")
    assert done.returncode == 2
    assert "Mine" in done.stderr
    said = " ".join(done.stderr.split())
    assert "export it from Python with ckptkit.export_saved_model(model, " in said
    assert (
        "custom_objects={...}, step=1), or build it and call ckptkit.load_weights(model, " in said
    )


def test_what_is_not_there_is_said_without_tensorflow(trained, tmp_path):
    assert called("export", tmp_path / "none", tmp_path / "out").returncode == 10
    assert called("export", trained, tmp_path / "out", "--step", "77").returncode == 1
    assert called("export", trained, "gs://bucket/out").returncode == 2
    assert called("export", trained, tmp_path / "out", "--keep", "0").returncode == 2
    assert called("export", trained, tmp_path / "out", "--limit-secs", "0").returncode == 2
    assert not (tmp_path / "out").exists()


SEVERAL = """
import sys
import keras
import ckptkit
models = {
    name: keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    for name, units in (("g", 2), ("d", 3))}
with ckptkit.CheckpointManager(sys.argv[1], models) as manager:
    manager.save(1)
"""


@pytest.mark.long
def test_one_of_several_models(fork_server, tmp_path):
    fork_server.run(SEVERAL, tmp_path / "run", env={"CUDA_VISIBLE_DEVICES": ""}).check()
    done = called("export", tmp_path / "run", tmp_path / "out")
    assert done.returncode == 2
    assert "several models ('g', 'd')" in done.stderr
    done = called("export", tmp_path / "run", tmp_path / "out", "--name", "d")
    assert done.returncode == 0, done.stderr
    (version,) = (tmp_path / "out").iterdir()
    assert read_export(version).signatures["serve"].outputs[0].shape == (None, 3)
