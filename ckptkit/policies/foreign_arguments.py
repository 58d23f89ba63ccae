"""Says which policy replaces an argument of TensorFlow's manager or of a callback of Keras."""

from __future__ import annotations

from collections.abc import Iterable

from ckptkit.errors import ConfigError

_POLICY = "keep=ckptkit.KeepBest('val_loss'), and save=ckptkit.OnBest('val_loss') to save only then"
_TIMES = "save=ckptkit.EveryNSteps(n) or save=ckptkit.EveryNEpochs(n)"

INSTEAD = {
    # tf.train.CheckpointManager
    "max_to_keep": "keep=ckptkit.KeepLatest(n)",
    "keep_checkpoint_every_n_hours": "keep=ckptkit.KeepLatest(2) | ckptkit.KeepEveryNHours(hours)",
    "checkpoint_interval": "save=ckptkit.EveryNSteps(n), and call manager.maybe_save(step)",
    "step_counter": "the number itself: manager.save(step) or manager.maybe_save(step)",
    "checkpoint_name": "nothing: checkpoints are named by their steps",
    "init_fn": "init_from=..., or initialize the state before the manager opens the run",
    # keras.callbacks.ModelCheckpoint, BackupAndRestore and OrbaxCheckpoint
    "filepath": "the run directory as first argument",
    "backup_dir": "the run directory as first argument",
    "monitor": _POLICY,
    "mode": _POLICY,
    "save_best_only": _POLICY,
    "initial_value_threshold": _POLICY,
    "save_freq": _TIMES,
    "save_weights_only": "nothing: ckptkit.load_weights(model, run) takes the weights of a run",
    "save_on_background": "background=True, which is the default",
    "double_checkpoint": "nothing: a checkpoint is committed as a whole or not at all",
    "delete_checkpoint": "nothing: a finished run stays, and another start does not train it again",
}
"""What to write instead, by the name of an argument of another system."""


def check_foreign_arguments(names: Iterable[str]) -> None:
    """Check that no argument of another system was passed.

    Raises:
        ConfigError: If one was, with what to write.
    """
    for name in names:
        if name in INSTEAD:
            raise ConfigError(f"{name} is an argument of another system. Write {INSTEAD[name]}.")
