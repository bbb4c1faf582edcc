"""Fixtures of the tests of tensor files."""

from tensorfile.gate import gate

__all__ = ["gate"]
