"""Advice: would a second group pay, by what a run has measured."""
