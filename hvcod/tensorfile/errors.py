"""Why a file is not used."""

from hvcod.errors import HvcodError


class DamagedError(HvcodError):
    """The bytes are not those that a group wrote: cut short, changed, or something else."""


class RefusedError(HvcodError):
    """The bytes are whole, but do not fit the local model or run, or hold what hvcod never
    writes."""
