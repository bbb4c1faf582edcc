"""Holds back files that are about to be written."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcod.files import whole


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds every file just before it is written, until it is set."""
    event, write_whole = threading.Event(), whole.write_whole

    def held(path: Path, data: memoryview, *, replace: bool) -> None:
        assert event.wait(20)
        write_whole(path, data, replace=replace)

    monkeypatch.setattr(whole, "write_whole", held)
    yield event
    event.set()
