"""What the callback does in one call of `model.fit`."""
