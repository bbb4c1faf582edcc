"""Readings of the gradient noise scale that a group has logged while it trained."""

from pathlib import Path

from hvcod.errors import HvcodError, reason_of
from hvcod.folders import group_folder
from hvcod.training.noise.meter import WINDOW, window_of
from hvcod.training.noise.scale import Reading
from hvcod.training.record.lines import from_line, last_lines, number

_LIMIT = 2**24
"""Bytes of the end of a file of metrics that are looked through."""


def logged(run: Path, group: int) -> list[Reading]:
    """Returns the newest readings of a group of a run, the oldest first; empty if there are none.

    One for each line of metrics that has any, the mean of its steps. Those of the same loss as the
    last one, and of these the newer half (`window_of`).

    Raises:
        HvcodError: The metrics cannot be read.
    """
    path = group_folder(run, group) / "metrics.jsonl"
    found: list[Reading] = []
    loss = None
    try:
        for text in last_lines(path, _LIMIT):
            noise = (from_line(text) or {}).get("noise") if b'"noise"' in text else None
            if not isinstance(noise, dict):
                continue
            gradient, variance = number(noise, "gradient"), number(noise, "variance")
            loss = noise.get("loss") if loss is None else loss
            if len(found) == 2 * WINDOW or noise.get("loss") != loss:
                break
            if gradient is not None and variance is not None:
                found.append(Reading(float(gradient), float(variance)))
    except FileNotFoundError:
        return []
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    return found[: window_of(len(found))][::-1]
