"""Products by oneDNN against torch's own in double precision."""

import platform
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.products import Linear, Weights, add_product, is_linear, linear, multiply
from hvcod.tasks.commoncrawl.model import Softmax

LARGE, SMALL = (48, 160, 192), (3, 5, 7)
"""Rows, units of inputs and units of outputs: for oneDNN, and too few for it."""

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
"""Of a product's numbers, as a part of their largest."""


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(1)


def assert_near(ours: Tensor, exact: Tensor, dtype: torch.dtype = torch.float32) -> None:
    difference = (ours.double() - exact).abs().max()
    assert difference <= TOLERANCE[dtype] * exact.abs().max()


@pytest.mark.parametrize("shape", [LARGE, SMALL])
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_and_all_gradients(shape: tuple[int, int, int], has_bias: bool) -> None:
    rows, size, units = shape
    tensors = [torch.randn(rows, 2, size), torch.randn(units, size), torch.randn(units)]
    grad = torch.randn(rows, 2, units)

    def run(function: Callable[..., Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
        wanted = [each.to(dtype).requires_grad_() for each in tensors[: 2 + has_bias]]
        product = function(*wanted)
        return product, *torch.autograd.grad(product, wanted, grad.to(dtype))

    pairs = zip(run(linear, torch.float32), run(F.linear, torch.float64), strict=True)
    for ours, exact in pairs:
        assert_near(ours, exact)


def test_large_products_are_those_of_onednn_and_others_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, size, units = LARGE
    weight = torch.randn(units, size)

    def operations(function: Callable[[], object]) -> set[str]:
        with torch.profiler.profile() as profile:
            function()
        return {event.name for event in profile.events()}

    usable = torch.backends.mkldnn.is_available() and platform.machine() == "x86_64"
    one = "mkldnn::_linear_pointwise"
    assert (one in operations(lambda: linear(torch.randn(rows, size), weight))) == usable
    assert one not in operations(lambda: linear(torch.randn(2, size), weight))
    assert one not in operations(lambda: linear(torch.randn(rows, size).double(), weight.double()))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert one not in operations(lambda: linear(torch.randn(rows, size), weight))


def test_products_of_transposes_and_of_parts_of_a_matrix() -> None:
    rows, size, units = LARGE
    left, right = torch.randn(size, rows).t(), torch.randn(units, size).t()
    assert_near(multiply(left, right), left.double() @ right.double())
    whole = torch.randn(2 * size, 2 * units)
    part, expanded = whole[::2, :units], torch.ones(1, units).expand(size, units)
    assert_near(multiply(left, part), left.double() @ part.double())
    assert_near(multiply(left, expanded), left.double() @ expanded.double())


@pytest.mark.parametrize("shape", [LARGE, SMALL, (1100, 32, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_added_to_a_total(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, size, units = shape
    left, right = torch.randn(size, rows).t().to(dtype), torch.randn(size, units).to(dtype)
    total = torch.randn(rows, units)
    exact = total.double() + left.double() @ right.double()
    add_product(total, left, right)
    assert_near(total, exact, dtype)


def test_layers_that_are_linear_and_nothing_else() -> None:
    class Other(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs).relu()

    kinds = {nn.Linear: True, Linear: True, Softmax: True, Other: False, nn.ReLU: False}
    assert {kind: is_linear(kind) for kind in kinds} == kinds


@pytest.mark.parametrize("shape", [LARGE, SMALL])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("transposed", [True, False])
def test_weights_multiply_many_inputs(
    shape: tuple[int, int, int], dtype: torch.dtype, transposed: bool
) -> None:
    rows, size, units = shape
    weight = torch.randn(size, units).t() if transposed else torch.randn(units, size)
    narrow = weight.to(dtype)
    weights = Weights(narrow, rows)
    for _ in range(2):
        inputs = torch.randn(rows, size).to(dtype)
        out = torch.empty(rows, units, dtype=torch.promote_types(dtype, torch.float32))
        weights.multiply(inputs, out)
        assert_near(out, inputs.double() @ narrow.double().t(), dtype)


def test_under_autocast_linear_is_that_of_torch() -> None:
    rows, size, units = LARGE
    inputs, weight = torch.randn(rows, size), torch.randn(units, size)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(linear(inputs, weight), F.linear(inputs, weight), rtol=0, atol=0)
        assert multiply(inputs, weight.t()).dtype is torch.float32
