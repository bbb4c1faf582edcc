"""An exponential moving average of a model's weights (Tarvainen & Valpola, arXiv 1703.01780)."""

import math
import weakref
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay_of(update: int, decay: float) -> float:
    """Returns the share that the average keeps at an update, counted from 1.

    As in the mean teacher's code it grows: at first the average is the plain mean of the weights
    after each update, and the initial weights never count.
    """
    return min(decay, 1 - 1 / update)


def sparse_tables(model: nn.Module) -> set[nn.Parameter]:
    """Returns the embedding tables of a model that have sparse gradients."""
    embeddings = [each for each in model.modules() if isinstance(each, nn.Embedding)]
    return {cast(nn.Parameter, each.weight) for each in embeddings if each.sparse}


class Average:
    """The average of a model's parameters, in float32 at least.

    A table with sparse gradients is averaged by the rows of an update. A row that no update has
    touched has kept its weights, so its average moves towards them in a known way, and is brought
    up to date when the row is touched again or the average is asked for: as exact as if all rows
    were averaged each time. For that the optimisers of torch are watched, before their steps.

    Attributes:
        decay: The share that the average keeps in the long run, see `decay_of`.
        updates: The number of updates that it has taken in.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._model, self.updates = model, 0
        tables = sparse_tables(model)
        self._dense = [each for each in model.parameters() if each not in tables]
        self._averages = [_wide(each) for each in self._dense]
        self._tables = {id(table): _Rows(table, decay) for table in tables}
        if tables:
            self._watch_optimizers()

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights after an update into the average."""
        self.updates += 1
        keep = decay_of(self.updates, self.decay)
        if self._dense:
            now = [
                each.detach().to(a.dtype)
                for each, a in zip(self._dense, self._averages, strict=True)
            ]
            get_ema_multi_avg_fn(keep)(self._averages, now, self.updates)
        for rows in self._tables.values():
            rows.update(self.updates)

    def weights(self) -> dict[str, Tensor]:
        """Returns the average as the model's `state_dict`; buffers are those of the model."""
        state: dict[str, Tensor] = self._model.state_dict()
        return state | averaged(self.state_dict(), state)

    def state_dict(self) -> dict[str, Any]:
        """Returns what the average is made of; `averaged` makes it."""
        kept = {id(each): a for each, a in zip(self._dense, self._averages, strict=True)}
        kept |= {key: rows.average for key, rows in self._tables.items()}
        named = list(self._model.named_parameters(remove_duplicate=False))
        return {
            "decay": self.decay,
            "updates": self.updates,
            "parameters": {name: kept[id(each)] for name, each in named},
            "rows": {n: self._tables[id(p)].updated for n, p in named if id(p) in self._tables},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        self.updates = state["updates"]
        mine = self.state_dict()
        for part in ("parameters", "rows"):
            for name, tensor in mine[part].items():
                tensor.copy_(state[part][name])

    def _watch_optimizers(self) -> None:
        """Calls `_before_step` before each step of any optimiser, for as long as this object is."""
        called = weakref.WeakMethod(self._before_step)

        def before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            if (method := called()) is not None:
                method(optimizer)

        weakref.finalize(self, register_optimizer_step_pre_hook(before).remove)

    def _before_step(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                rows = self._tables.get(id(parameter))
                if rows is not None and parameter.grad is not None:
                    rows.before_step(self.updates)


class _Rows:
    """The average of a table, each row as it was after the update in which it was touched last.

    Attributes:
        average: Like the table.
        updated: That update of each row, [rows].
    """

    def __init__(self, table: nn.Parameter, decay: float) -> None:
        self._table, self._decay = table, decay
        self.average = _wide(table)
        self.updated = torch.zeros(len(table), dtype=torch.int32, device=table.device)
        self._touched: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def before_step(self, updates: int) -> None:
        """Notes the rows that the next step of an optimiser changes, and their averages by then."""
        gradient = self._table.grad
        assert gradient is not None
        rows = gradient.coalesce().indices()[0]
        # Several times as fast on a CPU as indexing by [rows].
        table, average, since = (
            each.index_select(0, rows) for each in (self._table, self.average, self.updated)
        )
        moved = _moved(average, table, since, updates, self._decay)
        self._touched.append((rows, moved))

    def update(self, updates: int) -> None:
        """Takes in the rows that were changed."""
        share = 1 - decay_of(updates, self._decay)
        # What was noted of a row before its first change counts, so that is written last.
        for rows, average in reversed(self._touched):
            now = self._table.detach().index_select(0, rows).to(average.dtype)
            self.average.index_copy_(0, rows, torch.lerp(average, now, share))
            self.updated.index_fill_(0, rows, updates)
        self._touched.clear()


@torch.no_grad()
def averaged(state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the averages of parameters by name, in their types.

    Args:
        state: Of an `Average`.
        weights: The model's, after the last update.
    """
    averages = dict(state["parameters"])
    for name, updated in state["rows"].items():
        now = weights[name].to(averages[name].dtype)
        averages[name] = _moved(averages[name], now, updated, state["updates"], state["decay"])
    return {name: tensor.to(weights[name].dtype) for name, tensor in averages.items()}


def _moved(average: Tensor, weights: Tensor, since: Tensor, updates: int, decay: float) -> Tensor:
    """Returns the averages [rows, ...] of weights that have not changed since some updates."""
    # Of many rows, several have the same history.
    several = len(since) > updates
    begins = torch.arange(updates + 1, device=since.device) if several else since
    logs = _logs_kept(begins, decay)
    kept = torch.exp(_logs_kept(begins.new_tensor([updates]), decay) - logs).to(average.dtype)
    if several:
        kept = kept.index_select(0, since)
    return torch.lerp(weights.to(average.dtype), average, kept.unsqueeze(1))


def _logs_kept(updates: Tensor, decay: float) -> Tensor:
    """Returns the logarithms of the products of `decay_of` over the updates from the second on."""
    growing = math.floor(1 / (1 - decay))  # the updates at which 1 - 1/n is the smaller one
    updates = updates.double().clamp(min=1)
    return (updates - growing).clamp(min=0) * math.log(decay) - updates.clamp(max=growing).log()


def _wide(parameter: Tensor) -> Tensor:
    """Returns a copy in float32, or wider if the parameter is."""
    return parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
