"""Predictions of teachers that come from elsewhere: what they hold, and how they are packed."""
