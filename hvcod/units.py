"""Numbers with units, as people read them."""

import math


def byte_count(count: float) -> str:
    """Bytes in three digits, such as ``5.4 MB``; a unit is a thousand of the one before."""
    for unit in ("B", "kB", "MB", "GB"):
        # What would be rounded to a thousand is one of the next unit.
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def counted(count: int, noun: str) -> str:
    """A number of things, such as ``2 ranks``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def figure(value: float | None, form: str = "") -> str:
    """Returns a number in a format, or a dash if there is none."""
    return "-" if value is None else format(value, form)


def duration(seconds: float | None) -> str:
    """A duration in its two largest units, such as ``2h05m``; ``-`` if it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
