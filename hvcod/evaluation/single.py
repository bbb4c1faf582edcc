"""The one model that a command or a program names, rebuilt by this process alone."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.options import WeightsOptions
from hvcod.groups.communicator import Alone
from hvcod.groups.split import alone
from hvcod.tasks import load_task
from hvcod.tasks.architecture import tensors_of
from hvcod.tasks.base import Task
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import specification
from hvcod.training.finished.sources import WeightsFile, find
from hvcod.training.finished.weights import Weights, options_of_file, options_of_origin


@dataclass(frozen=True)
class Single:
    """The weights of one model, and the options with which they were trained.

    Attributes:
        file: Their file.
        weights: What is in it.
        trained: By its run or, outside of a run directory, by what the file says.
    """

    file: WeightsFile
    weights: Weights
    trained: TrainOptions

    @classmethod
    def read(cls, source: Path, group: int | None, options: WeightsOptions) -> Self:
        """Reads a run, of which one group is named if there are several, or a file.

        Raises:
            UsageError: There are no such weights, those of several groups, or of an unknown task.
            HvcodError: The file cannot be read.
        """
        choice = options.choice()
        if source.is_file() and (choice.best or choice.step is not None or group is not None):
            raise UsageError(
                f"{source} is a file, with weights of one group and step: leave out --group, "
                "--step and --which"
            )
        files = find([source], [] if group is None else [group], choice)
        if len(files) > 1:
            names = ", ".join(file.name.removeprefix("group ") for file in files)
            raise UsageError(f"{source} has the groups {names}: choose one with --group")
        (file,) = files
        weights = Weights(file.path, Alone(), average=options.weights == "average")
        if file.config is None:
            return cls(file, weights, options_of_origin(weights, options.task))
        of_group = options_of_file(file.config, weights.origin.group, Alone(), options.task)
        return cls(file, weights, of_group)

    @property
    def on_built_in_data(self) -> bool:
        """True if it was trained on the task's built-in data; False if that is not known."""
        if self.file.config is not None:
            return self.trained.data is None
        return self.weights.card is not None and self.weights.card.built_in

    def rebuilt(self, data: Path | None, whole: bool = False) -> tuple[Task, nn.Module]:
        """Returns the task and the model, in evaluation mode; the weights' memory is given up.

        The task has data only if some are given, if it takes them to build the model, or if it is
        to be `whole`.

        Raises:
            UsageError: It takes data, and it is not known where they are.
            HvcodError: The file does not hold the model that it describes.
        """
        weights, trained = self.weights, self.trained
        model = weights.model(trained.model)
        options = dataclasses.replace(trained, model=model, data=data or trained.data)
        task = None if whole or data else self._without_data(options)
        if task is None:
            if options.data is None and not self.on_built_in_data:
                raise UsageError(
                    f"{weights.path} travels without data, which the task {options.task} takes "
                    "here: name them (--data), prepared --like those of the training"
                )
            task = load_task(options.task)(options, alone())
        weights.check(task)
        with torch.random.fork_rng(devices=[]):
            module = task.build_model()
        module.load_state_dict(weights.hand_out(module.state_dict(), "it describes"))
        return task, module.eval()

    def _without_data(self, options: TrainOptions) -> Task | None:
        """Returns the task without data; None if its model cannot be built like that."""
        held = specification(self.weights.tensors())
        shapes = {name: spec.shape for name, spec in held.items()}
        try:
            task = load_task(options.task).without_data(options, shapes)
            if task is not None:
                tensors_of(task, held)
        except (KeyError, IndexError):
            return None
        except RefusedError as error:
            if options.data is None:
                raise HvcodError(f"{self.weights.path} {error}") from error
            return None  # of a task whose constructor does more, for which there are data
        return task
