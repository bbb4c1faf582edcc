"""Batch schedulers: one class each, listed in `hvcod.registry.SCHEDULERS`."""
