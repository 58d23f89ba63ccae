"""Without `save=`, the best epoch is saved if something is to be done with it."""

from __future__ import annotations

import json

import pytest

import ckptkit


@pytest.mark.parametrize(
    "options",
    [
        {"keep": ckptkit.KeepLatest(1) | ckptkit.KeepBest("val_loss")},
        {"export": ckptkit.ExportSpec(weights="best", monitor="val_loss")},
    ],
    ids=["keep", "export"],
)
def test_the_best_epoch_is_saved_at_its_end(trainings, run, options):
    keras = trainings.keras

    class Worse(keras.callbacks.Callback):
        """Spoils what is trained after the second epoch."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = 50.0

    history = trainings.fit(
        run, trainings.model("sgd"), Worse(), epochs=4, save=None, **options
    ).history
    losses = history["val_loss"]
    best = ckptkit.open_run(run).find("best", monitor="val_loss")
    assert min(losses) == losses[1]
    assert (best.step, best.head.metrics["val_loss"]) == (2 * trainings.STEPS, losses[1])
    if "export" in options:
        (record,) = (run / "export").glob("*/EXPORT.json")
        assert json.loads(record.read_text())["source"]["step"] == best.step
