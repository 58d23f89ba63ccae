"""Ownership of a run: the lock, its claims, the fence, and leases of readers."""
