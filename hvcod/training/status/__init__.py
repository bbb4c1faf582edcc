"""The status of a run, from its files alone; nothing heavy is imported."""
