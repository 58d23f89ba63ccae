"""The engine of `ckptkit audit`: proves bit by bit that an interrupted training ends the same."""
