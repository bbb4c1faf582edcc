"""Notes in the folder of a group: small dataclasses of texts and whole numbers, as JSON."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from hvcod.errors import HvcodError, reason_of
from hvcod.files.regular import read_regular
from hvcod.files.whole import write_whole


class _Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Note = TypeVar("Note", bound=_Dataclass)

_LARGEST = 64 * 1024

log = logging.getLogger("hvcod.training")


def read_note(path: Path, kind: type[Note]) -> Note | None:
    """Returns the note in a file; None if there is none that can be read."""
    try:
        note = kind(**json.loads(read_regular(path, _LARGEST)))
    except FileNotFoundError:
        return None
    except (OSError, HvcodError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read: %s", path, reason_of(error))
        return None
    fields = dataclasses.fields(kind)
    return note if all(type(getattr(note, each.name)) is each.type for each in fields) else None


def write_note(path: Path, note: _Dataclass) -> None:
    """Writes a note; raises HvcodError if it cannot be."""
    try:
        write_whole(path, json.dumps(dataclasses.asdict(note), indent=1).encode() + b"\n")
    except OSError as error:
        raise HvcodError(f"cannot write {path}: {reason_of(error)}") from error
