"""What a cluster needs besides training: job scripts, checks of the machine, plans."""
