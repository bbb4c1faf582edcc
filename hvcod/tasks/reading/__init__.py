"""Reading inputs of any task: what is compressed, what is damaged."""
