"""Stored teachers: predictions of finished models on the training data, read with each batch."""
