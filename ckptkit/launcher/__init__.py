"""Starts a training, supervises it, and starts it again if that can help; no TensorFlow here."""
