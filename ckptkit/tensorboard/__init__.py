"""TensorBoard's event files: repairs the program's own on a resume, and writes the run's own."""
