"""The only package that uses private names of TensorFlow and Keras; one file for each subject.

Each function says under `Reason:` why no public name is sufficient. Tried with TensorFlow 2.20 and
2.21, and with Keras 3.14 and 3.15. `tests/compat` has one check for each name, which fails if a
version changes it.
"""
