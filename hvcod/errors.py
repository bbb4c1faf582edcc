"""Errors that a user is meant to read, and exit codes beside 0, 1 and 2.

An error is one line that says what is wrong and what to do.
"""

from hvcod.terminal import one_line

PREEMPTED = 75
"""Exit code of what has saved and wants to be submitted again (EX_TEMPFAIL of sysexits.h)."""

REFUSED = 3
"""Exit code of a gate that works and says no."""

KILLED = 137
"""Exit code of a launch of which a rank was killed, as launchers have it: 128 and the signal."""


class HvcodError(Exception):
    """Something failed that the user can act on; shown as one line, exit code 1."""

    def __str__(self) -> str:
        """Returns the line, with escapes in place of characters that a terminal would obey."""
        return one_line(super().__str__())


class GroupFailedError(HvcodError):
    """Raised at the same step on all ranks of a group: that group ends, the others go on.

    Attributes:
        save: Whether its training is good up to this step, and worth saving.
    """

    def __init__(self, message: str, save: bool = False) -> None:
        super().__init__(message)
        self.save = save


class DivergedError(GroupFailedError):
    """The loss or the gradient is NaN or infinite: with these options the training fails again."""


class RankLostError(HvcodError):
    """A rank is gone or unreachable: the launch ends with exit code 75, to be submitted again."""


class RankKilledError(HvcodError):
    """The process of a rank has died: the launch ends with exit code 137."""


class UsageError(HvcodError):
    """The command or its options are wrong; raised alike on every rank, exit code 2."""


class OutputError(HvcodError):
    """Standard output cannot be written.

    Attributes:
        reader_gone: It is a pipe that nobody reads any more, as in ``hvcod ... | head``.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {reason_of(error)}")
        self.reader_gone = isinstance(error, BrokenPipeError)


def reason_of(error: Exception) -> str:
    """Why something could not be read or written, in a few words."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
