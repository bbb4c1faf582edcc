"""Teachers' layers of 8-bit integers, by the quantised operators of torch, which run on CPUs.

Linear layers and weight matrices of a model's own (`OwnMatrices`) have integers with a scale for
each output, and quantise their inputs batch by batch (dynamic quantisation); embeddings have a
scale and an offset for each row. Convolutions stay as they are: torch has no fast dynamic ones.
"""

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from hvcod.products import is_linear, linear

_ROW, _OUTPUT = 8, 12
"""Bytes of scale and offset of a row of a table, and of an output of a linear layer."""


class OwnMatrices(nn.Module):
    """A module with weight matrices that are not those of an `nn.Linear`.

    A module that names them in `matrices` and multiplies by them with `product` alone can be
    quantised.
    """

    matrices: ClassVar[tuple[str, ...]] = ()

    def product(self, name: str, inputs: Tensor) -> Tensor:
        """Returns inputs [..., n] times the transpose of one of its matrices [m, n]."""
        quantised = self._modules.get(name)
        if quantised is None:
            return linear(inputs, getattr(self, name))
        product: Tensor = quantised(inputs)
        return product


class Packed(ABC):
    """A place in a model where integers take the place of float matrices.

    Attributes:
        names: The names of the tensors that they are made of.
        kind: The kind of its layer, for the log.
    """

    def __init__(self, kind: str, *names: str) -> None:
        self.kind, self.names = kind, names

    @abstractmethod
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Quantises its tensors."""


class _Layer(Packed):
    """A layer that a quantised one replaces in its parent."""

    def __init__(self, parent: nn.Module, name: str, path: str, layer: nn.Module) -> None:
        has_bias = isinstance(layer, nn.Linear) and layer.bias is not None
        self._bias = f"{path}.bias" if has_bias else None
        super().__init__(type(layer).__name__, f"{path}.weight", *filter(None, [self._bias]))
        self._parent, self._name = parent, name
        self._make = Int8Linear if isinstance(layer, nn.Linear) else Int8Embedding

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts a new layer in the place of the one before."""
        bias = tensors[self._bias].float() if self._bias else None
        setattr(self._parent, self._name, self._make(tensors[self.names[0]].float(), bias))


class _Matrix(Packed):
    """A matrix of a module of `OwnMatrices`."""

    def __init__(self, module: OwnMatrices, name: str, path: str) -> None:
        super().__init__(type(module).__name__, f"{path}.{name}" if path else name)
        self._module, self._name = module, name
        delattr(module, name)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts a new matrix in the place of the one before."""
        setattr(self._module, self._name, Int8Linear(tensors[self.names[0]].float(), None))


class Int8Linear(nn.Module):
    """A linear layer of integers, with a scale for each output."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # Deprecated in favour of torchao, whose layers take three times as long unless they
            # are compiled; measured with torch 2.13 and torchao 0.18.
            warnings.simplefilter("ignore")
            from torch.ao.quantization import default_per_channel_weight_observer

            observer = default_per_channel_weight_observer()
            observer(weight)
            scales, zeros = observer.calculate_qparams()
            integers = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
            self._packed: Any = torch.ops.quantized.linear_prepack(integers, bias)
        self.out_features = len(weight)

    @property
    def weight(self) -> Tensor:
        """The matrix in float32, for models that use it otherwise as well, such as a tied one."""
        matrix: Tensor = torch.ops.quantized.linear_unpack(self._packed)[0].dequantize()
        return matrix

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps float32 inputs [..., n] to float32 outputs [..., m]."""
        outputs: Tensor = torch.ops.quantized.linear_dynamic(inputs, self._packed, _reduces_range())
        return outputs


class Int8Embedding(nn.Module):
    """A table of integers, with a scale and an offset for each row."""

    def __init__(self, weight: Tensor, _: Tensor | None = None) -> None:
        super().__init__()
        self._width = weight.shape[1]
        self._rows = torch.ops.quantized.embedding_bag_byte_prepack(weight.contiguous())

    @property
    def weight(self) -> Tensor:
        """The table in float32, for models that use it otherwise as well, such as a tied one."""
        table: Tensor = torch.ops.quantized.embedding_bag_byte_unpack(self._rows)
        return table

    def forward(self, indices: Tensor) -> Tensor:
        """Maps indices [...] to float32 rows [..., width]."""
        flat = indices.reshape(-1)
        bags = torch.arange(len(flat), dtype=flat.dtype)
        rows: Tensor = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            self._rows, flat, bags, False, 0, False, None, None, False
        )
        return rows.view(*indices.shape, self._width)


def pack(model: nn.Module) -> list[Packed]:
    """Quantises the layers of a model that can be, in place; returns them, to load others."""
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    packed: list[Packed] = []
    for path, module in _modules(model):
        parent, _, name = path.rpartition(".")
        if isinstance(module, OwnMatrices):
            packed += [_Matrix(module, matrix, path) for matrix in module.matrices]
        else:
            packed.append(_Layer(model.get_submodule(parent), name, path, module))
    for each in packed:
        each.load(tensors)
    return packed


def places(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Yields the names of the matrices that `pack` would quantise, and bytes added to each row."""
    for path, module in _modules(model):
        names = module.matrices if isinstance(module, OwnMatrices) else ("weight",)
        extra = _ROW if isinstance(module, nn.Embedding) else _OUTPUT
        yield from ((f"{path}.{name}" if path else name, extra) for name in names)


def _modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Returns the modules that can be quantised, by path."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, OwnMatrices) or (path and _is_plain(module))
    ]


def capabilities() -> Mapping[str, object]:
    """Returns the instructions of this CPU by name; empty if torch does not tell them."""
    able: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return able


def _is_plain(module: nn.Module) -> bool:
    """Returns whether a layer does nothing but what its torch class does, or a part of it."""
    if isinstance(module, nn.Embedding):
        return type(module).forward is nn.Embedding.forward and module.max_norm is None
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return False
    return is_linear(type(module))


@functools.cache
def _reduces_range() -> bool:
    """Returns whether inputs have 7 bits, as sums of products would overflow without VNNI."""
    able = capabilities()
    return not any(able.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8", "dot"))
