"""Batch scripts for Slurm and PBS: plain functions that return text, and what a queue is asked."""
