"""A file of tensors that verifies itself; published checkpoints and training states are such files.

Knows nothing of training or of groups.
"""
