"""Errors of the libraries that read files, in one line."""

import contextlib
import errno
import lzma
import re
import tempfile
from collections.abc import Iterator

import pyarrow as pa

from hvcod.errors import HvcodError, reason_of
from hvcod.tasks.reading.compression import unsupported

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ERRORS = (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError)


@contextlib.contextmanager
def read_errors(file: str) -> Iterator[None]:
    """Turns what libraries raise about the contents of a file into one line.

    Raises:
        HvcodError: The file cannot be read.
    """
    try:
        yield
    except (*_ERRORS, lzma.LZMAError, pa.ArrowException) as error:
        reason = " ".join(reason_of(error).split())
        reason = unsupported(reason) or reason
        if "straddling" in reason:  # pyarrow's word for a row longer than a block
            reason = "a row is longer than 1 MiB"
        if isinstance(error, OSError) and error.errno in _FULL:  # of a copy of a pipe, say
            reason += f" in {tempfile.gettempdir()}; set TMPDIR to a folder with more space"
        if re.search(r"invalid value '[^']*%'", reason):
            reason += "; write numbers without %, and add --scale percent"
        raise HvcodError(f"cannot read {file}: {reason}") from error
