"""The precision in which teachers are held and run, weights and forward pass both.

A teacher may be held and run in less than single precision, as its predictions need not be exact
(paper, sections 2.1 and 4). Only weight matrices (parameters of two dimensions or more) are
narrowed: they take the memory and the time. Gains, biases and running statistics, and what is
computed from them, stay in single precision, as autocast would have it.
"""

import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from hvcod.codistill.teachers.int8 import Packed, capabilities, pack, places
from hvcod.errors import UsageError
from hvcod.exchange.changes import ROWS

log = logging.getLogger("hvcod.codistill")

_CPU = torch.device("cpu")

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}

_FAST = {
    "bf16": {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"},
    "fp16": {"avx512_fp16", "amx_fp16", "fp16_arith"},
}
"""Instructions of CPUs that multiply such numbers, as `torch.cpu.get_capabilities` names them."""


class Held:
    """A frozen model that predicts, in single precision or whatever it was made in.

    Attributes:
        model: It is in evaluation mode and has no gradients.
        exact: Whether it holds all that is loaded into it, so that nothing else need be kept.
    """

    exact = True

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over the tensors of a model's `state_dict`, in any floating types.

        Of a table perhaps only the rows that have changed (`hvcod.exchange.changes`).
        """
        for name, target in self.model.state_dict().items():
            self._take(name, target, tensors)

    def _take(self, name: str, target: Tensor, tensors: Mapping[str, Tensor]) -> None:
        rows = tensors.get(name + ROWS)
        if rows is None:
            target.copy_(tensors[name])
        else:
            values = tensors[name].to(target.device, target.dtype)
            target.index_copy_(0, rows.to(target.device, torch.int64), values)

    def running(self) -> AbstractContextManager[object]:
        """Returns the context in which the model predicts."""
        return contextlib.nullcontext()

    def answer(self, logits: Tensor) -> Tensor:
        """Returns predicted logits in the type in which they are used."""
        return logits


class Narrow(Held):
    """A model whose weight matrices are halves, and which computes as autocast does."""

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(model)
        self.exact = dtype is torch.float16
        self._dtype, self._device = dtype, device
        self._matrices = _matrices(model)
        for matrix in self._matrices.values():
            matrix.data = matrix.data.to(dtype)

    def _take(self, name: str, target: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """A matrix that was published wide, as fp16 would spoil it, is wide."""
        matrix, rows = self._matrices.get(name), tensors.get(name + ROWS)
        wide = self.exact and _is_wide(tensors[name])
        dtype = torch.float32 if wide else self._dtype
        if matrix is None or target.dtype is dtype or (rows is not None and not wide):
            super()._take(name, target, tensors)
        elif rows is None:
            matrix.data = tensors[name].to(self._device, dtype, copy=True)
        else:
            matrix.data = matrix.data.to(dtype)
            super()._take(name, matrix.data, tensors)

    def running(self) -> AbstractContextManager[object]:
        """Returns autocast to the halves' type."""
        return torch.autocast(self._device.type, self._dtype)

    def answer(self, logits: Tensor) -> Tensor:
        """Returns the logits in single precision: losses and measurements add them up."""
        return logits.float()


class Integers(Held):
    """A model with layers of 8-bit integers; what the library cannot quantise stays as it is."""

    exact = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        tensors = model.state_dict()
        self._packed = pack(model)
        narrowed = {name for packed in self._packed for name in packed.names}
        self._rest = {name: each for name, each in tensors.items() if name not in narrowed}
        _tell(_described(self._packed, tensors, model))

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over tensors: quantises the matrices anew, and copies the rest."""
        for packed in self._packed:
            packed.load(tensors)
        for name, target in self._rest.items():
            target.copy_(tensors[name])

    def running(self) -> AbstractContextManager[object]:
        """Returns a context without autocast: quantised layers take single precision."""
        return torch.autocast("cpu", enabled=False)


def held(model: nn.Module, precision: str) -> Held:
    """Returns a model that is held and run in one of the precisions of ``--teacher-precision``.

    Raises:
        UsageError: The model is on a device that cannot run it so.
    """
    tensors = model.state_dict().values()
    device = next((tensor.device for tensor in tensors if isinstance(tensor, Tensor)), _CPU)
    if precision == "fp32":
        return Held(model)
    if precision == "int8":
        if device.type != "cpu":
            raise UsageError(
                "--teacher-precision int8: the integer layers of torch run on CPUs, and the model "
                f"is on {device}: use bf16"
            )
        return Integers(model)
    if device.type == "cpu" and not is_fast(precision):
        _tell(
            f"--teacher-precision {precision}: this CPU does not multiply such numbers in "
            "hardware; such teachers take half the memory, but may take longer than fp32"
            f"{' and longer than bf16' if precision == 'fp16' else ''}"
        )
    return Narrow(model, HALVES[precision], device)


def takes_changes(precision: str) -> bool:
    """Returns whether teachers of a ``--teacher-precision`` can take over changes of tables."""
    # A table of integers is packed anew as a whole.
    return precision != "int8"


def bytes_of(model: nn.Module, precision: str) -> int:
    """Returns the memory that a model would take as a teacher, in bytes."""
    tensors: dict[str, Tensor] = model.state_dict()
    sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
    if precision in HALVES:
        sizes |= {name: 2 * matrix.numel() for name, matrix in _matrices(model).items()}
    if precision == "int8":
        for name, scales in places(model):
            sizes[name] = tensors[name].numel() + scales * len(tensors[name])
    return sum(sizes.values())


def _described(packed: Sequence[Packed], tensors: Mapping[str, Tensor], model: nn.Module) -> str:
    """Returns which layers were quantised, and which ones were not."""
    names = {name for each in packed for name in each.names}
    matrices = {name: each for name, each in tensors.items() if each.dim() > 1}
    done = sum(each.numel() for name, each in matrices.items() if name in names)
    share = done / max(1, sum(each.numel() for each in matrices.values()))
    kinds = Counter(each.kind for each in packed)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "nothing"
    left = Counter(
        type(model.get_submodule(name.rpartition(".")[0])).__name__
        for name in matrices
        if name not in names
    )
    rest = ", ".join(f"{count} {kind}" for kind, count in left.items())
    text = f"--teacher-precision int8: quantised {told}: {share:.0%} of the weights"
    return f"{text}; not {rest}, which torch cannot" if rest else text


def is_fast(precision: str) -> bool:
    """Returns whether this CPU multiplies halves of a type in hardware, as far as torch knows."""
    able = capabilities()
    return not able or any(able.get(name) for name in _FAST[precision])


def _matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the weight matrices that can be held as halves, by name."""
    named = model.named_parameters()
    return {name: each for name, each in named if each.dim() > 1 and _is_wide(each)}


def _is_wide(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype.itemsize > 2


@functools.cache
def _tell(text: str) -> None:
    """Logs a line once."""
    log.info(text)
