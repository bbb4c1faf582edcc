"""Reasons not to use a file."""

from hvcod.errors import HvcodError


class DamagedError(HvcodError):
    """The bytes are not those that a group wrote: cut short, changed, or something else."""


class RefusedError(HvcodError):
    """The bytes are whole, but do not fit the model or run, or are not as hvcod writes them."""
