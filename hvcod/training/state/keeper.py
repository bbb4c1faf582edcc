"""What a training state holds of a group: the one place that takes it apart and puts it back."""

from typing import Any

import torch
from torch import nn

from hvcod import __version__
from hvcod.codistill.codistiller import Codistiller
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.tasks.base import Task, TrainingData
from hvcod.training.record.journal import Journal
from hvcod.training.run.directory import Run
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.state.layout import About
from hvcod.training.state.random_numbers import random_state, set_random_state
from hvcod.training.state.restore import Restored, restore
from hvcod.training.state.saver import Saver
from hvcod.tree import map_tensors

_RANK_BYTES = 2**31
"""More than a hidden state, place in the data and random numbers of one rank can take.

MPI gathers no larger tensor; a Transformer's memory at the paper's sizes is 134 million bytes.
"""


class Keeper:
    """Saves a group's training and puts it back, exactly as it was."""

    def __init__(
        self,
        task: Task,
        run: Run,
        device: torch.device,
        saver: Saver,
        model: nn.Module,
        optimizer: BaseAlgorithm,
        codistiller: Codistiller,
        data: TrainingData,
        journal: Journal,
    ) -> None:
        self._task, self._run, self._device, self._saver = task, run, device, saver
        self._model, self._optimizer, self._codistiller = model, optimizer, codistiller
        self._data, self._journal = data, journal
        self._options: TrainOptions = task.options
        self._group: Group = task.group
        self._saved = -1
        self._first = 0

    def restore(self) -> tuple[int, Any]:
        """Puts the newest state back: the steps done and the hidden state; (0, None) if new.

        Collective over the group.

        Raises:
            HvcodError: No state can be read, though there are some, or it does not fit.
        """
        rows = {"data": 0, "hidden": self._task.state_rows, "teachers": self._task.state_rows}
        found = restore(
            self._run.states,
            self._group,
            self._run.id,
            self._options.batch_size,
            self._largest(),
            rows,
        )
        if found is not None:
            self._put_back(found)
            self._saved = self._first = found.about.step
        self._journal.begin(self._first)
        return self._first, self._here(found.mine["hidden"]) if found else None

    def step(self, step: int, hidden: Any) -> None:
        """Saves the state if it is due. Collective over the group."""
        # A first one soon tells how long a save takes.
        measure = self._options.time_limit is not None and step == self._first + 1
        if measure or step % self._options.save_interval == 0:
            self.save(step, hidden)

    def finish(self, step: int, hidden: Any) -> None:
        """Saves the last state, once more if it was due already and failed. Collective."""
        if step == self._saved and not self._saver.flush():
            self._saved = -1
        self.save(step, hidden)

    def save(self, step: int, hidden: Any) -> None:
        """Saves the state, off the training thread. Collective over the group.

        Args:
            step: Steps done.
            hidden: This rank's hidden state.
        """
        if step == self._saved:
            return
        self._saved = step
        group, options = self._group, self._options
        about = About(
            self._run.id,
            options.task,
            group.index,
            step,
            group.size,
            options.batch_size,
            __version__,
            "",
        )
        self._saver.save(about, self._shared() if group.is_root else None, self._mine(hidden))

    def _shared(self) -> dict[str, Any]:
        return {
            "model": dict(self._model.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "codistiller": self._codistiller.state_dict(),
            "journal": self._journal.state_dict(),
        }

    def _mine(self, hidden: Any) -> dict[str, Any]:
        return {
            "data": {name: torch.from_numpy(v) for name, v in self._data.state_dict().items()},
            "hidden": hidden,
            "teachers": self._codistiller.hidden,
            # Running statistics are each rank's own.
            "buffers": dict(self._model.named_buffers()),
            "losses": self._journal.losses.state_dict(),
            "random": random_state(self._device),
        }

    def _put_back(self, found: Restored) -> None:
        shared, mine = found.shared, found.mine
        try:
            self._model.load_state_dict(shared["model"])
            self._optimizer.load_state_dict(shared["optimizer"])
            self._journal.load_state_dict(shared["journal"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise HvcodError(
                f"the training state of step {found.about.step} in {self._run.states}, written by "
                f"hvcod {found.about.project_version}, does not fit this model or this hvcod: "
                f"{' '.join(str(error).split())}"
            ) from error
        self._data.load_state_dict({name: each.numpy() for name, each in mine["data"].items()})
        if mine["buffers"] is not None:
            self._model.load_state_dict(mine["buffers"], strict=False)
        self._codistiller.load_state_dict(shared["codistiller"], self._here(mine["teachers"]))
        if mine["losses"] is not None:
            self._journal.losses.load_state_dict(mine["losses"])
        if mine["random"] is not None:
            set_random_state(mine["random"], self._device)
        else:
            seed = self._group.seed(self._options.seed, 1 + self._group.rank, found.about.step)
            torch.manual_seed(seed)

    def _here(self, tree: Any) -> Any:
        """A hidden state, or several, on this rank's device."""
        return map_tensors(lambda leaf: leaf.to(self._device), tree)

    def _largest(self) -> int:
        """Bytes that no state of this model exceeds, however it was saved."""
        weights: int = sum(tensor.nbytes for tensor in self._model.state_dict().values())
        # The student, its optimiser in up to double precision, a teacher of each group.
        return (8 + self._group.count) * weights + (
            (1 + self._group.size) * (1 + self._group.count) * _RANK_BYTES
        )
