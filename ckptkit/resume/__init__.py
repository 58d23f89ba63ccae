"""Resuming: select, verify, compare, assign."""
