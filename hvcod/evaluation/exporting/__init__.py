"""Exports trained weights, and models that can be served without hvcod."""
