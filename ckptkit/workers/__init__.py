"""Who this process is among the workers that train together."""
