"""Models that leave training: SavedModel, published by one rename."""
