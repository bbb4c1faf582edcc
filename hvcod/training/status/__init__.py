"""The status of a run, from its files alone; nothing is written, nothing heavy is imported."""
