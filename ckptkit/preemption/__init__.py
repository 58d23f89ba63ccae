"""Being asked to stop: by a signal, by Ctrl-C, by a call; and the safe points at which that is
served.
"""
