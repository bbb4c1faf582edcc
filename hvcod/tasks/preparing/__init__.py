"""Preparing data: one pipeline of stages and one way to list inputs for all tasks."""
