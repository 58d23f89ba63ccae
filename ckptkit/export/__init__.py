"""Exporting models as SavedModels: traced, checked by a fresh process, published by one rename."""
