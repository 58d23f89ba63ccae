"""Restoring a checkpoint: select it, verify it, compare it with the live state, and assign it."""
