"""Base algorithms: how the ranks of a group train one copy of the model together."""
