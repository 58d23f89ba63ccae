"""Models and weights that come back, from every format in which they may lie on disk."""
