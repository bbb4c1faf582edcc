"""Batch jobs: which jobs a request takes, their scripts, and what each start of a job does."""
