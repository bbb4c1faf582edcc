"""Prediction exchange (paper, footnote 1): teacher ranks hand predictions over to trainers."""
