"""Starting a training, watching over it, and starting it again where that can help. No TensorFlow
in this process.
"""
