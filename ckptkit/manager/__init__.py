"""`CheckpointManager`, the public interface for custom training loops."""

from ckptkit.manager.checkpoint_manager import CheckpointManager

__all__ = ["CheckpointManager"]
