"""The loop, the optimiser and its schedule, the run directory and its metrics."""
