"""The origin of the tensors in a file."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from hvcod import __version__
from hvcod.tensorfile.errors import RefusedError

_HIGHEST = 2**63 - 1

_LATER = {"meaning", "content", "model", "average_decay", "lineage", "base"}
"""Names that files of earlier versions lack."""


@dataclass(frozen=True)
class Origin:
    """Describes a published checkpoint or a training state.

    Attributes:
        run_id: The run that it belongs to; other runs refuse it.
        step: Updates done.
        examples: Training examples that the group has seen.
        ranks: Ranks of the group.
        batch_size: Examples per rank and step; 0 if unknown.
        validation_loss: The last one known, or None.
        configuration_digest: Of the options that all groups of the run share, with their kind:
            ``KIND:SHA-256``; of all options in files of earlier versions; empty if unknown.
        meaning: Of the inputs and outputs (`hvcod.tensorfile.meaning`); empty if unknown.
        content: Digest of the examples of the group's data; empty if unknown.
        model: Options of the model, as `hvcod.tasks.architecture` writes them; empty if unknown.
        average_decay: Of the moving average that the weights are; None: they are the last ones.
        created: UTC in ISO 8601; filled in when the file is made.
        lineage: Names the launch that published it, if its tables are published by changes.
        base: The step on whose weights of the same lineage it holds changes; None: it is whole.
    """

    run_id: str = ""
    task: str = ""
    group: int = 0
    step: int = 0
    examples: int = 0
    ranks: int = 1
    batch_size: int = 0
    validation_loss: float | None = None
    configuration_digest: str = ""
    project_version: str = __version__
    created: str = ""
    meaning: str = ""
    content: str = ""
    model: str = ""
    average_decay: float | None = None
    lineage: str = ""
    base: int | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The origin with these values; raises RefusedError if it cannot be one."""
        kinds = {field.name: typing.get_args(field.type) or (field.type,) for field in fields(cls)}
        if strange := sorted((kinds.keys() ^ values.keys()) - (_LATER - values.keys())):
            raise RefusedError(f"origin: {strange[0][:80]} is missing or unknown")
        for name, value in values.items():
            beyond = type(value) is int and not 0 <= value <= _HIGHEST
            if beyond or type(value) not in kinds[name]:
                raise RefusedError(f"origin: {name} has a value that hvcod does not write")
        return cls(**values)
