"""Loading models and weights from every supported format: recognise, describe, compare, load."""
