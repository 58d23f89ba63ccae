"""Tracking: which values a run's state consists of, their keys, and how a snapshot copies them."""
