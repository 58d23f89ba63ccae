"""What became of a run: its attempts, and where the time went. No TensorFlow."""
