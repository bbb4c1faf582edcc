"""Planning and training the runs of an experiment."""
