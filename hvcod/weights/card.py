"""The card of exported weights: where they come from and how they were trained, as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hvcod.schema import flatten
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.origin import Origin

FORMAT = "hvcod-weights 1"
"""The value of ``format`` in a card."""

LARGEST = 2**20
"""Characters of a card that is read, at most; those of hvcod have some thousands."""

_KEYS = {
    "run_id": "run",
    "task": "task",
    "group": "group",
    "step": "step",
    "examples": "examples",
    "meaning": "data.meaning",
    "content": "data.digest",
    "average_decay": "average_decay",
    "project_version": "versions.trained_with",
}
"""The dotted keys under which a card has the parts of an origin."""


@dataclass(frozen=True)
class Card:
    """The description of exported weights; docs/export.md tells its keys.

    Attributes:
        values: A tree of plain values.
        origin: The same, as published checkpoints and training states name it.
    """

    values: Mapping[str, Any]
    origin: Origin

    @classmethod
    def of(cls, origin: Origin, more: Mapping[str, Any]) -> Self:
        """Returns the card of weights of an origin, with more values by dotted keys."""
        about = dataclasses.asdict(origin)
        flat = {"format": FORMAT} | {key: about[name] for name, key in _KEYS.items()}
        model = json.loads(origin.model) if origin.model else {}
        tree: dict[str, Any] = {}
        for key, value in (flat | {"model": model} | dict(more)).items():
            section, _, name = key.rpartition(".")
            (tree.setdefault(section, {}) if section else tree)[name] = value
        return cls(tree, origin)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the card in a text, which may come from anybody.

        Raises:
            RefusedError: It is not a card of this format.
        """
        if len(text) > LARGEST:
            raise RefusedError(f"its card has {len(text)} characters, which are too many")
        try:
            values = json.loads(text, parse_constant=lambda name: None)  # NaN is not JSON
        except (ValueError, RecursionError) as error:
            raise RefusedError("its card is not JSON") from error
        written = values.get("format") if isinstance(values, dict) else None
        if written != FORMAT:
            raise RefusedError(f"its card has the format {str(written)[:80]!r}, not {FORMAT!r}")
        for section in ("data", "versions", "model", "training"):
            if not isinstance(values.get(section, {}), dict):
                raise RefusedError(f"its card has a {section} that hvcod does not write")
        flat, model = flatten(values), values.get("model")
        parts = {name: flat[key] for name, key in _KEYS.items() if key in flat}
        if model:
            parts["model"] = json.dumps(model, sort_keys=True)
        return cls(values, Origin.parse(dataclasses.asdict(Origin()) | parts))

    @property
    def training(self) -> Mapping[str, Any]:
        """The options of the training by key, without paths; those of the model are left out."""
        options: Mapping[str, Any] = self.values.get("training", {})
        return options

    @property
    def built_in(self) -> bool:
        """True if the weights were trained on the task's built-in data."""
        return self.values.get("data", {}).get("built_in") is True

    def text(self) -> str:
        """Returns the card as JSON."""
        return json.dumps(self.values, indent=1, allow_nan=False)
