"""Copies a run to an object store behind training, and fetches it onto an empty disk."""
