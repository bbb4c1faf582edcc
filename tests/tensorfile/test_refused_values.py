"""Types, shapes and attributes that hvcod never writes, or that do not fit the local model."""

import h5py
import numpy as np
import pytest
import torch
from exchange.support import EXPECTED, checkpoint, encoded
from h5py import h5d, h5p, h5s, h5t
from tensorfile.refusing import NAME, SHAPE, Change, refused, replacing, say_source

from hvcod.exchange.read import decode
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import TensorSpec


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (h5py.ref_dtype, "object references"),
        (h5py.regionref_dtype, "object references"),
        (h5py.string_dtype(), "text"),
        (h5py.vlen_dtype("<f2"), "variable-length"),
        (np.dtype([("a", "<f2"), ("b", "<f2")]), "compound"),
        (np.dtype("V4"), "opaque"),
        (np.dtype("S4"), "text"),
        (np.dtype("?"), "enumerated"),
        (np.dtype("<c8"), "compound|complex"),
        (np.dtype(">f2"), "float16|>f2"),
    ],
)
def test_types(dtype: np.dtype, message: str) -> None:
    refused(replacing(lambda f: f.create_dataset(NAME, SHAPE, dtype)), message)


@pytest.mark.parametrize("kind", ["int16", "float64"])
def test_other_numbers(kind: str) -> None:
    message = f"holds {kind} values; the local model's are torch.float32"
    refused(replacing(lambda f: f.__setitem__(NAME, np.zeros(SHAPE, kind))), message)


def test_array_type() -> None:
    def put(file: h5py.File) -> None:
        kind = h5t.array_create(h5t.IEEE_F16LE, (4,))
        h5d.create(file.id, NAME.encode(), kind, h5s.create_simple((8,)))

    refused(replacing(put), "an array in each element")


def test_a_float_in_place_of_an_integer() -> None:
    def change(file: h5py.File) -> None:
        del file["norm.num_batches_tracked"]
        file["norm.num_batches_tracked"] = np.float32(7)
        say_source(file, "norm.num_batches_tracked")

    refused(change, "tensor norm.num_batches_tracked holds float32 values")


@pytest.mark.parametrize("shape", [(4, 8), (32,), (8, 4, 1), (), (8, 3), (9, 4), (0, 4)])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    refused(
        replacing(lambda f: f.__setitem__(NAME, np.zeros(shape, "<f2"))), f"tensor {NAME} has shape"
    )


def test_null_dataspace() -> None:
    refused(replacing(lambda f: f.__setitem__(NAME, h5py.Empty("<f2"))), "has no shape")


def late(shape: tuple[int, ...]) -> Change:
    """A dataset that claims `shape` and has no values yet: the file stays small."""

    def put(file: h5py.File) -> None:
        plan = h5p.create(h5p.DATASET_CREATE)
        plan.set_alloc_time(h5d.ALLOC_TIME_LATE)
        h5d.create(file.id, NAME.encode(), h5t.IEEE_F16LE, h5s.create_simple(shape), plan)

    return replacing(put)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2**20, 2**20, 2**10), "values outside the file"),
        ((2**40, 2**20), "values outside the file"),
        ((1,) * 32, "values outside the file"),
        ((0, 2**62, 2**62), "absurd shape|has shape|cannot read"),
        ((2**62, 0), "absurd shape|has shape|cannot read"),
    ],
)
def test_an_absurd_shape_is_refused_without_memory(shape: tuple[int, ...], message: str) -> None:
    refused(late(shape), message)


def test_values_that_were_never_written_are_refused() -> None:
    refused(late(SHAPE), "values outside the file")


def test_a_model_larger_than_the_file_is_refused() -> None:
    huge = dict(EXPECTED) | {NAME: TensorSpec((2**20, 2**20, 2**10), torch.float32)}
    with pytest.raises(RefusedError, match="has shape"):
        decode(checkpoint(), huge)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_id", 5),
        ("step", "fifty"),
        ("step", 50.0),
        ("step", np.array([50, 51])),
        ("run_id", h5py.Empty("S4")),
        ("examples", np.array((1, 2), [("a", "i4"), ("b", "i4")])),
        ("validation_loss", 4),
        ("validation_loss", "low"),
        ("validation_loss", np.longdouble(4)),
        ("examples", np.int16(4)),
    ],
)
def test_attributes_of_another_type(name: str, value: object) -> None:
    refused(lambda f: f.attrs.__setitem__(name, value), f"{name} (has|is not a scalar)")


@pytest.mark.parametrize("name", ["run_id", "task", "group", "step", "examples", "created"])
def test_missing_attributes(name: str) -> None:
    refused(lambda f: f.attrs.__delitem__(name), f"{name} is missing or unknown")


def test_variable_length_text_in_an_attribute() -> None:
    kind = h5py.string_dtype()
    refused(lambda f: f.attrs.create("task", "x", dtype=kind), "attribute task has a type")


def test_an_attribute_of_absurd_length() -> None:
    text = np.bytes_(b"x" * 40_000)
    refused(lambda f: f.attrs.__setitem__("task", text), "attribute task has a type")


def test_text_that_is_no_text() -> None:
    refused(lambda f: f.attrs.__setitem__("task", np.bytes_(b"\xff\xfe")), "cannot read")


def test_a_validation_loss_that_is_not_known_is_none() -> None:
    assert decode(checkpoint(), EXPECTED)[0].validation_loss is None


def test_bool_bytes_are_read_as_booleans() -> None:
    tensors = {"mask": torch.tensor([True, False, True])}
    expected = {"mask": TensorSpec((3,), torch.bool)}
    assert decode(encoded(tensors), expected)[1]["mask"].tolist() == [True, False, True]
