"""Measures of the predictions of several models, from one pass over them."""
