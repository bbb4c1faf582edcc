"""Holds back files that are about to be written."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hvcod.files import whole

Save = Callable[[Path, memoryview], None]


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
