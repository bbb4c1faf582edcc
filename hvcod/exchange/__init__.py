"""Published checkpoints: half-precision copies of the weights that groups leave for each other."""
