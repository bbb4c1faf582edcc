"""Site profiles: TOML files of job options, one's own or those that come with hvcod."""

from pathlib import Path
from typing import Any

from hvcod import config
from hvcod.cluster.jobs.options import JobOptions
from hvcod.errors import UsageError

SHIPPED = Path(__file__).parent / "sites"
"""Examples by the public documentation of sites; none of them has been run there."""


def names() -> list[str]:
    """The profiles that come with hvcod."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(name: str) -> dict[str, Any]:
    """A profile as one layer of options, by its file or the name of one that comes with hvcod.

    Raises:
        UsageError: There is none, or it is wrong.
    """
    path = SHIPPED / f"{name}.toml" if name in names() else Path(name)
    if not path.is_file():
        raise UsageError(
            f"--profile {name}: no such file, and none of the examples: {', '.join(names())}"
        )
    values = config.read_toml(path)
    try:
        config.resolve(JobOptions, [values])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return values
