"""Requests to stop: by a signal, by Ctrl-C or by a call, served at safe points."""
