"""`ckptkit audit`: whether an interrupted training ends with the bits of one that nobody
interrupted.
"""
