"""Models of trained weights, for programs of one's own: `hvcod.load_model`."""

import os
from pathlib import Path

import torch
from torch import nn

from hvcod.evaluation.options import WeightsOptions
from hvcod.evaluation.single import Single
from hvcod.schema import changed


def load_model(
    path: str | os.PathLike[str],
    *,
    group: int | None = None,
    weights: str = "auto",
    which: str = "last",
    step: int | None = None,
    task: str | None = None,
    config: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """Returns the model that a run, a state, a checkpoint or an exported file holds.

    It is in evaluation mode. Needs neither MPI nor Horovod, nor, for the tasks of hvcod, the data::

        import hvcod

        model = hvcod.load_model("runs/first", group=0)

    Args:
        path: A run directory, a training state, a published checkpoint, or a file that ``hvcod
            export`` wrote.
        group: The group of a run that has several.
        weights: ``state``, ``published``, ``auto`` or ``average``, as in ``hvcod evaluate``.
        which: ``last``, or ``best`` for the state that validated best.
        step: The step of the weights; None: the newest.
        task: The task again, if its module is in the current folder and not installed.
        config: The ``config.toml`` of the run, if the path is not in it.
        data: Folder of the data, for a task of one's own that builds its model by them.
        device: The device to put the model on.

    Raises:
        UsageError: There are no such weights, or it takes the data to build their model.
        HvcodError: A file cannot be read, or does not hold the model that it describes.
    """
    of_run = None if config is None else Path(config)
    chosen = changed(
        WeightsOptions(),
        {"weights": weights, "which": which, "step": step, "task": task, "config": of_run},
    )
    single = Single.read(Path(path), group, chosen)
    _, model = single.rebuilt(None if data is None else Path(data))
    return model.to(device)
