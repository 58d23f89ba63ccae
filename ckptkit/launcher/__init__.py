"""`ckptkit run`: starts a training, and starts it again where that helps."""
