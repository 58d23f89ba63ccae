"""Restoring: selects a checkpoint, verifies it, compares it with the program's state, and assigns
it.
"""
