"""CheckpointManager: the wiring of policies, saving, resuming and loops."""

from ckptkit.manager.checkpoint_manager import CheckpointManager

__all__ = ["CheckpointManager"]
