"""Finds the position at which a new `fit` begins: its own, or that of an adopted training."""

from __future__ import annotations

from ckptkit.compat import keras_fit
from ckptkit.errors import ConfigError
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.load.adoption import AdoptionReport
from ckptkit.position import RunPosition


def new_fit_position(fit: FitContext) -> RunPosition:
    """Return the position of a new `fit`, and let Keras begin with its epoch.

    Args:
        fit: what the parts of this `fit` share.

    Raises:
        ConfigError: If a training was adopted, and nothing says how many epochs are done.
    """
    adopted = fit.session.resume.adopted
    if adopted is None:
        return RunPosition(epoch=fit.call.initial_epoch)
    epoch = adopted_epoch(adopted, fit.steps_per_epoch)
    fit.state.position.first_epoch = epoch
    keras_fit.set_initial_epoch(fit.model, epoch)
    return RunPosition(adopted.step, epoch)


def adopted_epoch(adopted: AdoptionReport, steps_per_epoch: int | None) -> int:
    """Return the epoch with which a `fit` begins that has adopted the state of another system.

    Args:
        adopted: what was taken over.
        steps_per_epoch: the number of batches in an epoch, if it is known.

    Raises:
        ConfigError: If nothing says how many epochs are done.
    """
    if adopted.epoch is not None:
        return adopted.epoch
    epoch, rest = divmod(adopted.step, steps_per_epoch) if steps_per_epoch else (0, adopted.step)
    if rest:
        raise ConfigError(
            f"{adopted.source} does not say how many epochs are done, and its {adopted.step} steps "
            f"are no whole number of epochs of {steps_per_epoch} steps. Nothing was trained. Say "
            f"it: adopt=ckptkit.Adopt({adopted.source!r}, epoch=...)."
        )
    return epoch
