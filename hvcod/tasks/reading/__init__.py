"""Reading the inputs of any task, compressed or damaged."""
