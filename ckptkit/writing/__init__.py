"""Writing snapshots to disk: background thread, TensorFlow's files, commit and save cost."""
