"""The session of one process with a run: opening, resuming, saving, stopping and closing it."""
