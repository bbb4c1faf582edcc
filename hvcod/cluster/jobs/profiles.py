"""Site profiles: TOML files of job options, a user's own or those that come with hvcod."""

from pathlib import Path
from typing import Any

from hvcod import config
from hvcod.cluster.jobs.options import JobOptions
from hvcod.errors import UsageError

SHIPPED = Path(__file__).parent / "sites"
"""Examples after the public documentation of sites; none of them has been run there."""


def names() -> list[str]:
    """Returns the names of the profiles that come with hvcod."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(name: str) -> dict[str, Any]:
    """Reads a profile, given by its file or its name, as one layer of options.

    Raises:
        UsageError: It is missing or wrong.
    """
    path = SHIPPED / f"{name}.toml" if name in names() else Path(name)
    if not path.is_file():
        raise UsageError(
            f"--profile {name}: neither a file nor one of the examples: {', '.join(names())}"
        )
    values = config.read_toml(path)
    try:
        config.resolve(JobOptions, [values])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return values
