"""Restoring: selects a checkpoint, verifies it, compares it with the live state, and assigns it."""
