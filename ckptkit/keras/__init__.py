"""CheckpointCallback for `model.fit`."""

from ckptkit.keras.checkpoint_callback import CheckpointCallback

__all__ = ["CheckpointCallback"]
