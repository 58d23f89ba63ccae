"""Who may change a run: the lock, claims, the fence, and leases of readers."""
