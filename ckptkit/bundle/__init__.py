"""TensorFlow's file format: writes bundles of tensors, and checks and reads them."""
