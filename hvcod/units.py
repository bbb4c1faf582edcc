"""Numbers with units, as people read them."""


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
