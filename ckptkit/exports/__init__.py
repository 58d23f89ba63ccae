"""Directories of exported versions and their records. No TensorFlow here."""
