"""One process's life with a run: opening, saving, stopping, and closing."""
