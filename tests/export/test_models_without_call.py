"""A model with a train step and no `call` is served by the models in it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import ckptkit


class Autoencoder(keras.Model):
    """As generative programs are written: parts, and a train step."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        self.decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])

    def train_step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        loss = keras.ops.mean((self.decoder(self.encoder(x)) - x) ** 2)
        return {"loss": loss}


X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def fit(export: object, run: object) -> None:
    model = Autoencoder()
    model.compile("sgd")
    ours = ckptkit.CheckpointCallback(run, background=False, export=export(model))
    model.fit(X, batch_size=4, verbose=0, callbacks=[ours])


def test_the_warning_names_the_parts(tmp_path):
    with pytest.warns(UserWarning, match=r"no call\(\).*signatures.*It has: encoder, decoder"):
        fit(lambda model: True, tmp_path)
    with pytest.raises(ckptkit.ExportError, match=r"no call\(\).*model\.decoder"):
        ckptkit.export_saved_model(Autoencoder(), tmp_path / "export")


def test_a_part_is_served(tmp_path):
    fit(
        lambda model: ckptkit.ExportSpec(
            signatures={"serving_default": model.decoder, "encode": model.encoder}
        ),
        tmp_path,
    )
    served = ckptkit.load_exported(tmp_path / "export")
    assert set(served.signatures) == {"serving_default", "encode"}
