"""The data that a task trains on: the user's, or built-in data prepared on first use.

Training imports nothing of a preparation: built-in data are named here and their code is loaded
when they are needed.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from hvcod.groups.split import Group
from hvcod.registry import Registry

log = logging.getLogger("hvcod.tasks")

BUILTIN: Registry[Callable[[], Path]] = Registry(
    "--task",
    {
        name: f"hvcod.tasks.{name}.preparation.builtin:builtin_dataset"
        for name in ("commoncrawl", "criteo", "imagenet")
    },
)
"""For each task the function that prepares its built-in data, once per user, and returns the
folder. Collective over the launch."""

_CONTENT = {
    "commoncrawl": "the built-in corpus (documentation in English)",
    "criteo": "generated rows",
    "imagenet": "built-in images (drawn shapes)",
}


def data_folder(task: str, data: Path | None, group: Group) -> Path:
    """Returns the folder of a task's data. Collective over the launch.

    Args:
        task: Name of a task that has built-in data.
        data: The value of ``--data``, if it was given.
        group: This rank's group; its root says that built-in data are used.

    Raises:
        HvcodError: The built-in data cannot be prepared.
    """
    if data is not None:
        return data
    if group.is_root:
        log.info("no --data given: training on %s", _CONTENT[task])
    return BUILTIN.load(task)()
