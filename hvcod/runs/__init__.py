"""Training runs: their options, the crew that trains several of them, and their curves."""
