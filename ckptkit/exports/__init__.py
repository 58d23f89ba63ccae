"""Directories of exported versions, and their records. Imports no TensorFlow."""
