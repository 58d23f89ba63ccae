"""`CheckpointCallback`, which makes `model.fit` resumable."""

from ckptkit.keras.checkpoint_callback import CheckpointCallback

__all__ = ["CheckpointCallback"]
