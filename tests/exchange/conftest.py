"""Fixtures of the exchange's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange.support import EXPECTED, OURS, Start
from tensorfile.gate import gate

from hvcod.exchange.poll import Poller

__all__ = ["gate"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a poller of the given groups' directories (`tmp_path` / number)."""
    pollers = []

    def begin(*groups: int, held: dict[int, int] | None = None) -> Poller:
        directories = {group: tmp_path / str(group) for group in groups or (0,)}
        expected = dict.fromkeys(directories, EXPECTED)
        pollers.append(Poller(directories, expected, OURS, held))
        return pollers[-1]

    yield begin
    for poller in pollers:
        assert poller.close()


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    (tmp_path / "0").mkdir()
    return tmp_path / "0"
