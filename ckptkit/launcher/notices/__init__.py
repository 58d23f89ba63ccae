"""Knowing before the training does that the machine will go away: one file for each cloud."""

from ckptkit.launcher.notices.notice import Notice

__all__ = ["Notice"]
