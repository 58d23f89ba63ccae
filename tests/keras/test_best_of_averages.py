"""The best weights are those that the metric was measured with, if an evaluation uses averages too."""

from __future__ import annotations

import pytest

import ckptkit


@pytest.mark.parametrize("how", ["evaluations", "epochs", "the end"])
def test_best_gives_the_metric_that_it_was_chosen_by(trainings, run, how):
    keras = trainings.keras

    def made():
        return trainings.model(keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.7))

    class Worse(keras.callbacks.Callback):
        """Spoils what is trained last, so that averages and weights differ in every epoch."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                self.model.optimizer.learning_rate = 1.0

    swap = [] if how == "the end" else [keras.callbacks.SwapEMAWeights(how == "epochs")]
    history = trainings.fit(
        run,
        made(),
        *swap,
        Worse(),
        epochs=5,
        save=ckptkit.EveryNEpochs(1),
        keep=ckptkit.KeepLatest(50) | ckptkit.KeepBest("val_loss"),
    ).history
    best = ckptkit.open_run(run).find("best")
    assert best.head.metrics["val_loss"] == pytest.approx(min(history["val_loss"]))
    x, y = trainings.rows()
    loaded = made()
    ckptkit.load_weights(loaded, run, step="best")
    for model in (loaded, ckptkit.load_model(run, step="best")):
        assert model.evaluate(x, y, verbose=0) == pytest.approx(min(history["val_loss"]), rel=1e-5)
