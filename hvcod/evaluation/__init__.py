"""Trained models on prepared data: what they predict and how good that is."""
