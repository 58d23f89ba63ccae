"""Private names of TensorFlow and Keras. No other room may use one."""
