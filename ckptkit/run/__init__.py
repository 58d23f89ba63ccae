"""The files of a run: checkpoints, manifests, journals, pins, requests. Imports no TensorFlow."""
