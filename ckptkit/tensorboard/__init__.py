"""TensorBoard's files: the program's own are put in order where a run goes on, and a run has some
of its own.
"""
