"""`ckptkit audit`: compares an interrupted training with an uninterrupted one, bit by bit."""
