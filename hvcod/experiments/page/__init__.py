"""The page of an experiment: its figure, its tables, and a verdict on each claim."""
