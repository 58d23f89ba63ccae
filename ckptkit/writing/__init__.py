"""Writes snapshots to disk: background thread, sync, commit and save cost."""
