"""Embedding tables in a window, by rows: an update touches the rows of a batch, and no others."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions
from hvcod.groups.window import Rows, Window
from hvcod.training.sgd.averages import (
    Averages,
    averages_of,
    make_averages,
    rows_gradient,
    set_updates,
)
from hvcod.training.sgd.optimizers import sparse_optimizer

_ROWS_AT_ONCE = 1 << 14


class Table:
    """An embedding table: row r is row r // ranks of the share of rank r % ranks.

    In a window, the averages of a row follow its weights.

    Attributes:
        name: Of the parameter.
        parameter: The whole table of the model.
        batch: Stands for the rows of a batch in the optimiser.
        offset: The byte of a share at which the table begins.
    """

    def __init__(self, name: str, parameter: nn.Parameter, ranks: int) -> None:
        self.name, self.parameter, self._ranks = name, parameter, ranks
        self.batch = nn.Parameter(torch.zeros_like(parameter[:1], device="cpu"))
        self.offset = 0
        self._optimizer: torch.optim.Optimizer | None = None

    def prepare(self, optimizer: torch.optim.Optimizer, offset: int) -> int:
        """Takes its place at a byte of a share; returns the byte behind it."""
        self._optimizer, self.offset = optimizer, offset
        averages = averages_of(optimizer, self.batch)
        self._first = {name: float(average.view(-1)[0]) for name, average in averages.items()}
        self._width = self.batch.nbytes
        self._stride = self._width * (1 + len(averages))
        return offset + -(-len(self.parameter) // self._ranks) * self._stride

    def owned(self, rows: Tensor, owner: int) -> Tensor:
        """Returns which of some rows an owner has, as booleans."""
        return rows % self._ranks == owner

    def fetch(self, window: Window, owner: int, rows: Tensor) -> None:
        """Reads the weights of some of an owner's rows into the model."""
        bytes_ = torch.empty((len(rows), self._width), dtype=torch.uint8)
        window.get_rows(owner, self._places(rows), bytes_.numpy())
        device = self.parameter.device
        self.parameter.data[rows.to(device)] = bytes_.view(self.parameter.dtype).to(device)

    def read(self, window: Window, owner: int, rows: Tensor) -> None:
        """Reads weights and averages of some of an owner's rows into the optimiser."""
        bytes_ = torch.empty((len(rows), self._stride), dtype=torch.uint8)
        window.get_rows(owner, self._places(rows), bytes_.numpy())
        weights, *averages = (
            part.contiguous().view(self.parameter.dtype) for part in bytes_.split(self._width, 1)
        )
        self._set(weights, dict(zip(self._first, averages, strict=True)))

    def write(self, window: Window, owner: int, rows: Tensor) -> None:
        """Writes the optimiser's weights and averages of some of an owner's rows."""
        averages = averages_of(self._optimizer, self.batch)
        parts = [self.batch.detach(), *(averages[name] for name in self._first)]
        bytes_ = torch.cat([part.view(torch.uint8) for part in parts], 1)
        window.put_rows(owner, self._places(rows), bytes_.numpy())

    def keep(self, rows: Tensor) -> None:
        """Puts the optimiser's weights of some rows into the model."""
        device = self.parameter.device
        self.parameter.data[rows.to(device)] = self.batch.detach().to(device)

    def take_over(self, rows: Tensor, averages: Averages | None) -> None:
        """Gives the optimiser the model's weights of some rows, and averages; new ones if None."""
        weights = self.parameter.detach()[rows.to(self.parameter.device)].cpu()
        if averages is None:
            mine = {name: torch.full_like(weights, first) for name, first in self._first.items()}
        else:
            mine = {name: averages[self.name][name][rows] for name in self._first}
        self._set(weights, mine)

    def collect(self, rows: Tensor, averages: Averages) -> None:
        """Copies the optimiser's averages of some rows to whole ones, which are made if needed."""
        wholes = averages.setdefault(self.name, {})
        for name, average in averages_of(self._optimizer, self.batch).items():
            if name not in wholes:
                wholes[name] = torch.empty(self.parameter.shape, dtype=average.dtype)
            wholes[name][rows] = average

    def parts(self, owner: int) -> Iterator[Tensor]:
        """Yields all rows of an owner, some at a time."""
        everything = torch.arange(owner, len(self.parameter), self._ranks)
        yield from everything.split(_ROWS_AT_ONCE)

    def _set(self, weights: Tensor, averages: Mapping[str, Tensor]) -> None:
        assert self._optimizer is not None
        self.batch.grad = None
        self.batch.data = weights
        for name, average in averages.items():
            self._optimizer.state[self.batch][name] = average

    def _places(self, rows: Tensor) -> Rows:
        return Rows(self.offset, self._stride, (rows // self._ranks).numpy())


class Tables:
    """The embedding tables of a model in a window.

    Attributes:
        optimizer: Updates the rows of a batch; None without tables.
        end: The byte of a share behind the tables.
    """

    def __init__(
        self, tables: Mapping[str, nn.Parameter], ranks: int, offset: int, options: OptimizerOptions
    ) -> None:
        """The tables begin at a byte of each share."""
        self._tables = [Table(name, table, ranks) for name, table in tables.items()]
        self._by_parameter = {table.parameter: table for table in self._tables}
        self.optimizer: torch.optim.Optimizer | None = None
        self.end = offset
        if tables:
            self.optimizer = sparse_optimizer([table.batch for table in self._tables], options)
            make_averages(self.optimizer, sparse=True)
            for table in self._tables:
                self.end = table.prepare(self.optimizer, self.end)

    def of(self, parameter: nn.Parameter) -> Table | None:
        """Returns the table that a parameter of the model is, if it is one."""
        return self._by_parameter.get(parameter)

    def update(self, window: Window, owner: int, updates: int) -> None:
        """Applies this rank's gradients to an owner's rows, after so many updates; it is locked."""
        if self.optimizer is None:
            return
        touched = []
        for table in self._tables:
            gradient = table.parameter.grad
            assert gradient is not None  # `Updates.complete` gives one to each table
            rows, values = gradient.indices()[0].cpu(), gradient.values().cpu()
            mine = table.owned(rows, owner)
            touched.append(rows[mine])
            table.read(window, owner, rows[mine])
            table.batch.grad = rows_gradient(values[mine])
        set_updates(self.optimizer, updates)
        self.optimizer.step()
        for table, rows in zip(self._tables, touched, strict=True):
            table.write(window, owner, rows)
            table.keep(rows)

    def fetch(self, window: Window, owner: int) -> None:
        """Reads all weights of an owner into the model; it is locked."""
        for table in self._tables:
            for rows in table.parts(owner):
                table.fetch(window, owner, rows)

    def take_over(self, window: Window, owner: int, averages: Averages | None) -> None:
        """Writes the model's weights, with averages or new ones, to an owner; it is locked."""
        for table in self._tables:
            for rows in table.parts(owner):
                table.take_over(rows, averages)
                table.write(window, owner, rows)

    def collect(self, window: Window, owner: int, averages: Averages) -> None:
        """Reads an owner's averages to their places in whole ones; it is locked."""
        for table in self._tables:
            for rows in table.parts(owner):
                table.read(window, owner, rows)
                table.collect(rows, averages)
