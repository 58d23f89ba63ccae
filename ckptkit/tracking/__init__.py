"""Tracking the state of a run: which values there are, under which keys, and how a snapshot takes
them.
"""
