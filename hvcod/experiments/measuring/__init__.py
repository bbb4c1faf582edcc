"""The measures of an experiment: steps to a loss, gains over seeds, and a verdict on each claim."""
