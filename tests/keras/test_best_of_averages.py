"""The best weights are those that its metric was measured with, also if averages are evaluated."""

from __future__ import annotations

import pytest

import ckptkit
from ckptkit.restore.assign import weights_of
from ckptkit.tracking.tracker import track


@pytest.mark.parametrize("how", ["evaluations", "epochs", "the end"])
def test_best_gives_the_metric_that_it_was_chosen_by(trainings, run, how):
    keras = trainings.keras

    def made():
        return trainings.model(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.7))

    class Worse(keras.callbacks.Callback):
        """Spoils what is trained last, so that the best checkpoint is not the final one."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                self.model.optimizer.learning_rate = 1.0

    # At the end, Keras itself replaces the weights by averages.
    callbacks = (
        [] if how == "the end" else [keras.callbacks.SwapEMAWeights(how == "epochs"), Worse()]
    )
    trained = made()
    history = trainings.fit(
        run,
        trained,
        *callbacks,
        epochs=5,
        save=ckptkit.EveryNEpochs(1),
        keep=ckptkit.KeepLatest(50) | ckptkit.KeepBest("val_loss"),
    ).history
    best = ckptkit.open_run(run).find("best")
    roles = {entry.role for entry in best.manifest.tensors}
    assert roles & {"result", "evaluated"} == {"result" if how == "the end" else "evaluated"}
    chosen_by = pytest.approx(min(history["val_loss"]), rel=1e-5)
    assert best.head.metrics["val_loss"] == chosen_by
    x, y = trainings.rows()
    loaded = made()
    ckptkit.load_weights(loaded, run, step="best")
    for model in (loaded, ckptkit.load_model(run, step="best")):
        assert model.evaluate(x, y, verbose=0) == chosen_by
    with weights_of(best, track({"model": trained}), best=True):  # as an export takes them
        assert trained.evaluate(x, y, verbose=0) == chosen_by


def test_training_continues_from_its_own_weights(trainings, run):
    keras = trainings.keras

    def fit(run, epochs, made):
        swap = keras.callbacks.SwapEMAWeights()
        trainings.fit(run, made, swap, epochs=epochs, save=ckptkit.EveryNEpochs(1))
        return [weight.numpy().tobytes() for weight in made.weights]

    def made():
        return trainings.model(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.7))

    whole = fit(run / "whole", 4, made())
    fit(run / "parts", 2, made())
    newest = ckptkit.open_run(run / "parts").find("latest")
    assert "evaluated" in {entry.role for entry in newest.manifest.tensors}
    assert fit(run / "parts", 4, made()) == whole


def test_weights_that_were_evaluated_as_they_are_saved_are_stored_once(trainings, run):
    trainings.fit(run, save=ckptkit.EveryNEpochs(1), keep=ckptkit.KeepLatest(9))
    for checkpoint in ckptkit.open_run(run).checkpoints:
        assert "val_loss" in checkpoint.metrics
        assert "evaluated" not in {entry.role for entry in checkpoint.manifest.tensors}
