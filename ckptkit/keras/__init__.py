"""CheckpointCallback for `model.fit`."""

from ckptkit.keras.callback import CheckpointCallback

__all__ = ["CheckpointCallback"]
