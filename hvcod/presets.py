"""Presets: a task's own, and those of the method, which are laid over one of a task."""

from collections.abc import Mapping, Sequence
from typing import Any

from hvcod.errors import UsageError

DEFAULT = "laptop"
"""The preset that every task has."""

METHODS: Mapping[str, Mapping[str, Any]] = {
    # Zhang et al. 2017, "Deep Mutual Learning", algorithm 1: two networks or more learn from the
    # same mini-batches, one after the other, each also from what the others predict by then.
    "mutual-learning": {
        "groups": 2,
        "same_batches": True,
        "codistill.exchange": "in-process",
        "codistill.exchange_interval": 1,
        "codistill.staleness": "freshest",
        "codistill.burn_in": 0,
        "codistill.distill_loss": "kl",
        "codistill.distill_weight": 1.0,
    },
}
"""Presets of the method by name: options that make one of its known forms, whatever the task."""


def trains_in_one_process(preset: str | None, layers: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether options make one process train all groups; imports no task.

    Args:
        preset: The names of ``--preset``; None if there are none.
        layers: {key: value} of the options that are laid over the preset, later ones winning.
    """
    methods = [METHODS[name] for name in _names(preset or "") if name in METHODS]
    chosen = [layer.get("codistill.exchange") for layer in (*methods, *layers)]
    return next(filter(None, reversed(chosen)), "") == "in-process"


def layers_of(
    names: str, of_task: Mapping[str, Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    """Returns the layers of options that ``--preset`` names, later ones winning.

    Args:
        names: A preset of the task and any of the method, with commas between them. Without one
            of the task it is the default.
        of_task: The presets of the task.

    Raises:
        UsageError: There is no such preset, or there are several of the task.
    """
    chosen = _names(names)
    own = [name for name in chosen if name in of_task]
    others = [name for name in chosen if name not in of_task]
    if unknown := [name for name in others if name not in METHODS]:
        raise UsageError(
            f"--preset {unknown[0]}: choose one of {', '.join(of_task)}, or one of the method, "
            f"which goes with each of them: {', '.join(METHODS)}"
        )
    if len(own) > 1:
        raise UsageError(f"--preset {names}: choose one of {' and '.join(own)}")
    return (of_task[own[0] if own else DEFAULT], *(METHODS[name] for name in others))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
