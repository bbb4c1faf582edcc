"""The record that a group keeps of its training."""
