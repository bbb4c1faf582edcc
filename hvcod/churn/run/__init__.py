"""Studies of retrains, which are trained, predict the same examples and are compared."""
