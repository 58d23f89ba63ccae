"""TensorBoard's event files: repairs those of the program, and writes those of the run."""
