"""Finished models: their files, their weights, and how they teach a training (section 3.4.1)."""
