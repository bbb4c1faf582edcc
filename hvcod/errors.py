"""The errors that a user is meant to read: one line that says what is wrong and what to do."""


class HvcodError(Exception):
    """Something failed that the user can act on; shown as one line, exit code 1."""


class UsageError(HvcodError):
    """The command or its options are wrong; raised alike on every rank, exit code 2."""
