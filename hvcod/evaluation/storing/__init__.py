"""Storing the predictions of finished teachers on the training data."""
