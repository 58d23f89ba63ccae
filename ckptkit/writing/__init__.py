"""Writing a snapshot to disk: the background thread, TensorFlow's files, and what a save costs."""
