"""Memory that a process keeps from step to step, instead of giving it back and asking for it again.

The C library maps each large block anew and unmaps it when it is freed. So the kernel clears the
same pages in every step, once for each tensor of more than a few MB: about a seventh of the time of
a step of the paper's model on a CPU.
"""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_SIZES = 2**30, 2**25
"""Largest blocks to be kept: before version 2.35, the C library takes no more than the second."""

_CHOSEN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_memory() -> None:
    """Lets this process keep blocks that are freed, of up to 1 GiB, for those that come next.

    Before version 2.35 of the GNU C library they are kept up to 32 MiB.

    Its memory stays what it needed at most. Does nothing if the user has set how memory is
    allocated, or if the C library is not GNU's.
    """
    if any(name in os.environ for name in _CHOSEN):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(_M_MMAP_THRESHOLD, size) for size in _SIZES):
        mallopt(_M_TRIM_THRESHOLD, -1)
