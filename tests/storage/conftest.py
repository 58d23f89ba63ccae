"""Fixtures: a run that is written without TensorFlow."""

from tests.support.stored_run import files, layout, save

__all__ = ["files", "layout", "save"]
