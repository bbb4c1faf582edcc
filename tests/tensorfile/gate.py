"""Holds back files that are about to be written."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import pytest

from hvcod.files import whole


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds every file just before it is written, until it is set."""
    event, whole_file = threading.Event(), whole.whole_file

    def held(path: Path, *, replace: bool) -> AbstractContextManager[BinaryIO]:
        assert event.wait(20)
        return whole_file(path, replace=replace)

    monkeypatch.setattr(whole, "whole_file", held)
    yield event
    event.set()
