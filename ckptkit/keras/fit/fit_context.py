"""The objects that all parts of one `fit` share: the model, the session, the state, the stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ckptkit.compat import keras_fit, keras_models
from ckptkit.keras.fit.captured_variables import CapturedVariables
from ckptkit.keras.fit.fit_cleanup import FitCleanup
from ckptkit.keras.fit.fit_stage import FitStages
from ckptkit.keras.fit.fit_state import FitState
from ckptkit.keras.user_callbacks import OtherCallbacks
from ckptkit.session.session import Session
from ckptkit.session.snapshot_writer import Taken
from ckptkit.tracking.state_check import unbuilt_parts


@dataclass
class FitContext:
    """The objects that all parts of one `fit` share.

    Args:
        model: the model that is trained.
        call: the arguments of the `fit`, without the list of callbacks. That list must be deleted
            when the `fit` ends (see `FitExitWatch`).
        epochs: the number of epochs of the whole run.
        steps_per_epoch: the number of batches in an epoch, or None if Keras does not know it.
        session: the open session with the run.
        others: the other callbacks.
        state: the state that `fit` adds to a checkpoint.
        stages: the stage of the `fit`.
        cleanup: undoes all changes and closes the run.
        stopped: the state in the middle of an epoch at which training was stopped, if it was.
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
    stopped: Taken | None = field(default=None, init=False)

    def find_captured(self, step: Any) -> None:
        """Search for variables that the train step and the loss use but no model contains.

        Args:
            step: the train function, which may be traced; None if it does not exist yet.
        """
        if self.state.captured is None:
            self.state.captured = CapturedVariables(
                self.model, lambda: self.session.tracked.now().leaves
            )
        self.state.captured.find(step)

    def note_traced(self) -> None:
        """Note with which layers and settings the train function was traced."""
        self.state.traced = keras_models.trainable_flags(self.model)
        self.state.traced_settings = self.session.tracked.attributes.settings.now()

    @property
    def unbuilt(self) -> list[str]:
        """The parts of the model that are not built, such as its optimizer, in words."""
        return unbuilt_parts({"model": self.model})

    def build(self, *, by_a_step: bool = True) -> None:
        """Build the model and its optimizer, if no step follows that would build them.

        Args:
            by_a_step: whether to run a step if the model cannot be built without one.
        """
        spec = self.call.element_spec
        if spec is None or not self.unbuilt:
            return
        try:
            keras_models.build_from_spec(self.model, spec)
        except RuntimeError:
            if not by_a_step:
                return
            # A custom train step may create its own variables. Then a real step creates them, and
            # its training is overwritten.
            self.model.train_function(keras_fit.new_iterator(self.call))
