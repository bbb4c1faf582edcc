"""The choice of tensors that become half precision; the rule's bounds hold for the values."""

import io

import h5py
import pytest
import torch
from exchange.support import encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.precision import as_published, rounded

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
FLOATS = {
    "float16": st.floats(allow_nan=False, allow_infinity=False, width=16),
    "float32": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "float64": st.floats(allow_nan=False, allow_infinity=False, width=64),
}
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


def round_trip(tensor: torch.Tensor) -> torch.Tensor:
    tensors = {"t": tensor.clone()}
    expected = specification(tensors)
    return decode(encoded(tensors), expected)[1]["t"]


def stored(tensor: torch.Tensor) -> torch.dtype:
    return round_trip(tensor).dtype


@st.composite
def float_tensors(draw: st.DrawFn) -> torch.Tensor:
    kind = draw(st.sampled_from(sorted(FLOATS)))
    return torch.from_numpy(draw(arrays.arrays(kind, SHAPES, elements=FLOATS[kind])))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_finite_floats_stay_finite_and_close(data: st.DataObject) -> None:
    tensor = torch.as_tensor(data.draw(float_tensors()))
    decoded = round_trip(tensor)
    assert decoded.shape == tensor.shape
    assert decoded.isfinite().all()
    if decoded.dtype == tensor.dtype:
        assert torch.equal(decoded, tensor)
        return
    assert decoded.dtype is torch.float16
    error = (decoded.double() - tensor.double()).abs()
    allowed = tensor.double().abs() * 2.0**-11
    close = error <= allowed
    if tensor.dim() < 2:
        assert close.all()
    else:
        assert (error <= allowed.clamp(min=2.0**-25)).all()
        assert (~close).sum() <= 0.1 * tensor.count_nonzero()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_integers_and_booleans_are_exact(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(WHOLE))
    tensor = torch.as_tensor(data.draw(arrays.arrays(kind, SHAPES)))
    decoded = round_trip(tensor)
    assert decoded.dtype == tensor.dtype
    assert torch.equal(decoded, tensor)


def test_weights_of_ordinary_scale_become_half_precision() -> None:
    torch.manual_seed(0)
    for scale in (1e-3, 0.02, 1.0, 100.0):
        assert stored(torch.randn(200, 300) * scale) is torch.float16


@pytest.mark.parametrize("largest", [65504.0, 65519.0])
def test_values_that_round_to_a_finite_half_survive(largest: float) -> None:
    assert stored(torch.tensor([[1.0, largest]])) is torch.float16


@pytest.mark.parametrize("largest", [65520.0, 1e30])
def test_values_beyond_half_precision_keep_the_tensor_wide(largest: float) -> None:
    variance = torch.tensor([1.0, -largest])
    assert torch.equal(round_trip(variance), variance)


def test_a_large_bfloat16_is_kept_in_a_type_that_holds_it() -> None:
    wide = torch.tensor([[3e38, 1.0]]).bfloat16()
    assert rounded("t", wide).rounding.stored is torch.float32
    assert round_trip(wide).dtype is torch.bfloat16
    assert torch.equal(round_trip(wide), wide)
    assert stored(torch.randn(4, 4).bfloat16()) is torch.float16


def test_tiny_scales_keep_the_tensor_wide() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(64, 64) * 1e-6
    assert torch.equal(round_trip(matrix), matrix)


def test_tiny_values_that_halves_hold_exactly_survive() -> None:
    assert stored(torch.full((4,), 2.0**-24)) is torch.float16


def test_one_tiny_element_keeps_a_vector_wide_but_not_a_matrix() -> None:
    vector = torch.ones(100)
    vector[3] = 1.1e-6
    assert stored(vector) is torch.float32
    assert stored(vector.reshape(10, 10)) is torch.float16


def test_an_outlier_does_not_hide_a_tiny_matrix() -> None:
    matrix = torch.full((10, 10), 1.1e-6)
    matrix[0, 0] = 100.0
    assert stored(matrix) is torch.float32


def test_a_float64_beyond_float32_is_exact() -> None:
    tensor = torch.tensor([[1e300, 1e-300]], dtype=torch.float64)
    assert torch.equal(round_trip(tensor), tensor)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 40_000, 99_999])
def test_non_finite_values_are_never_published(value: float, place: int) -> None:
    tensor = torch.zeros(100_000)
    tensor[place] = value
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        with pytest.raises(HvcodError, match=r"tensor lstm\.0\.weight holds NaN or infinite"):
            encoded({"fine": torch.ones(2), "lstm.0.weight": tensor.to(dtype)})


def test_the_file_says_what_rounding_cost() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(300, 400), torch.randn(50) * 30
    data = encoded({"a": a, "b": b, "c": torch.tensor([1e9])})
    with h5py.File(io.BytesIO(data)) as file:
        for name, tensor in (("a", a), ("b", b)):
            error = float((tensor - tensor.half()).abs().max())
            relative = error / float(tensor.abs().max())
            assert file[name].attrs["rounding_error"] == error
            assert file[name].attrs["relative_rounding_error"] == pytest.approx(relative)
        assert file["c"].dtype == "float32"
        assert file["c"].attrs["rounding_error"] == 0.0
        assert file.attrs["rounding_error"] == file["b"].attrs["rounding_error"]


@settings(max_examples=50)
@given(st.one_of(float_tensors(), float_tensors().map(torch.Tensor.bfloat16)))
def test_what_is_handed_over_in_memory_has_the_values_of_a_file(tensor: torch.Tensor) -> None:
    if not tensor.isfinite().all():  # beyond bfloat16
        return
    copies = [torch.empty_like(tensor), torch.empty_like(tensor)]
    copies[0].copy_(as_published({"t": tensor})["t"])
    copies[1].copy_(round_trip(tensor))
    assert torch.equal(*copies)


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_are_handed_over_as_they_are(kind: str) -> None:
    tensor = torch.tensor([0, 1, 1]).to(getattr(torch, kind))
    copy = torch.empty_like(tensor).copy_(as_published({"t": tensor})["t"])
    assert torch.equal(copy.to(torch.int64), tensor.to(torch.int64))
