"""Exchanges: the ways in which weights travel from group to group, one file each."""
