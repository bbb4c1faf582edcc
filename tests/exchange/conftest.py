"""Fixtures of the exchange's tests."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from exchange.support import EXPECTED, Start

from hvcod.exchange.poll import Poller
from hvcod.files import whole

Save = Callable[[Path, memoryview], None]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a poller of the given groups' directories (`tmp_path` / number)."""
    pollers = []

    def begin(*groups: int) -> Poller:
        directories = {group: tmp_path / str(group) for group in groups or (0,)}
        pollers.append(Poller(directories, EXPECTED, "run-1"))
        return pollers[-1]

    yield begin
    for poller in pollers:
        assert poller.close()


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    (tmp_path / "0").mkdir()
    return tmp_path / "0"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds every file just before it is written, until it is set."""
    event = threading.Event()

    def hold(save: Save) -> Save:
        def held(path: Path, data: memoryview) -> None:
            assert event.wait(20)
            save(path, data)

        return held

    monkeypatch.setattr(whole, "write_new", hold(whole.write_new))
    monkeypatch.setattr(whole, "replace", hold(whole.replace))
    yield event
    event.set()
