"""Fixtures that the tests of training share."""

import resource
from collections.abc import Callable, Iterator

import pytest

Limit = Callable[[int | None], None]


@pytest.fixture
def disk() -> Iterator[Limit]:
    """Sets how long a file of this process may grow: the last write comes back short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)
