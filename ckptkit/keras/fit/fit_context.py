"""What the parts of one `fit` share: the model, the session, the state and the stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckptkit.compat import keras_fit
from ckptkit.keras.callback_list import OtherCallbacks
from ckptkit.keras.fit.fit_cleanup import FitCleanup
from ckptkit.keras.fit.fit_stage import FitStages
from ckptkit.keras.fit.fit_state import FitState
from ckptkit.session.session import Session


@dataclass
class FitContext:
    """What the parts of one `fit` share.

    Args:
        model: the model that is trained.
        call: what the `fit` was called with. It holds no list of callbacks: that list must go when
            the `fit` does (see `FitExitWatch`).
        epochs: epochs of the whole run.
        steps_per_epoch: batches in an epoch, or None if Keras does not know that.
        session: the open session with the run.
        others: the other callbacks.
        state: what `fit` adds to a checkpoint.
        stages: the stage that the `fit` is in.
        cleanup: puts back what was changed, and closes the run.
    """

    model: Any
    call: keras_fit.FitCall
    epochs: int
    steps_per_epoch: int | None
    session: Session
    others: OtherCallbacks
    state: FitState
    stages: FitStages
    cleanup: FitCleanup
