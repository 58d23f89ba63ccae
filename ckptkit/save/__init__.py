"""Saving: what is tracked, the snapshot of it, and the writer."""
