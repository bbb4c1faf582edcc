"""The gradient noise scale: how large a batch still gives a better gradient."""
