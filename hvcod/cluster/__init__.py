"""Tools for clusters: job scripts, checks of the machine, plans."""
