"""Private names of TensorFlow and Keras, by subject; no other room may use one.

Each function says under `Reason:` why no public name serves.
Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
`tests/compat` has one check for each name, which fails if a version changes it.
"""
