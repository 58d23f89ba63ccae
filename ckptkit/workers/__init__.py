"""The workers that train together: which of them this process is, and how they communicate."""
