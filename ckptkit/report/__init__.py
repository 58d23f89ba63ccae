"""The report of a run: its attempts, its goodput, and an HTML page of both. No TensorFlow."""
