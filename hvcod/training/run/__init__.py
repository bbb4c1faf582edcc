"""The run directory: its options, the owner of each group, and resuming."""
