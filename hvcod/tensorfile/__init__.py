"""A file of tensors that verifies itself: published checkpoints and training states.

Knows neither who publishes nor who trains.
"""
