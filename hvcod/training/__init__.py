"""Training: the loop, base algorithms, the run directory, states and metrics."""
