"""CheckpointManager: the wiring of policies, saving, resuming and loops."""

from ckptkit.manager.manager import CheckpointManager

__all__ = ["CheckpointManager"]
