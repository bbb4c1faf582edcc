"""An index that hvcod does not write is refused by its own check, digest and all."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from exchange.support import EXPECTED, checkpoint
from tensorfile.crafting import image_of, index_of, reindexed, with_index

from hvcod.errors import HvcodError
from hvcod.exchange.read import decode
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.index import LONGEST_NAME, Entry, pack
from hvcod.tensorfile.origin import Origin

NAME = "lstm.0.weight"
DATA = checkpoint()
TEXT = json.dumps(index_of(DATA)).encode()

Change = Callable[[dict[str, Any]], object]


def refused(data: bytes, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        decode(data, EXPECTED)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_index_in_another_form_of_json_is_accepted() -> None:
    text = json.dumps(index_of(DATA), indent=4).encode()
    origin, tensors = decode(with_index(DATA, text), EXPECTED)
    assert origin.step == 50
    assert list(tensors) == list(EXPECTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (TEXT[:-1], "not JSON"),
        (TEXT + b"\0", "not JSON"),
        (TEXT + TEXT, "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"[" * 2**21, "more than 1048576 elements"),
        (b"[" + b"1," * 2**21 + b"1]", "more than 1048576 elements"),
        (b"1", "the index does not have"),
        (b"[]", "the index does not have"),
        (b"{}", "the index does not have"),
        (b'{"origin": 1, "tensors": {}}', "without an origin"),
        (b'{"origin": {}, "tensors": []}', "without an origin or tensors"),
        (TEXT.replace(b"commoncrawl", b"\xff\xfe"), "not JSON"),
        (TEXT.replace(b"commoncrawl", b"\\ud800"), "not JSON"),
        (TEXT.replace(b"lstm.0.bias", b"\\udfff"), "not JSON"),
        (TEXT.replace(b'"group": 0', b'"group": NaN'), "not JSON"),
        (TEXT.replace(b'"group": 0', b'"group": -Infinity'), "not JSON"),
        (TEXT.replace(b'"group": 0', b'"group": 1e999'), "not JSON"),
        (TEXT.replace(b'"group": 0', b'"group": ' + b"9" * 5000), "not JSON"),
        (TEXT.replace(b'"group": 0', b'"group": 9999999999999999999'), "group has a value"),
        (TEXT.replace(b'"group": 0', b'"group": 0, "group": 0'), "is there twice"),
        (TEXT.replace(b"lstm.0.bias", b"lstm.0.weight"), "is there twice"),
    ],
)
def test_what_is_not_an_index(text: bytes, message: str) -> None:
    refused(with_index(DATA, text), message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_id", 5),
        ("run_id", None),
        ("run_id", ["run-1"]),
        ("step", "fifty"),
        ("step", 50.0),
        ("step", True),
        ("step", -1),
        ("step", 2**63),
        ("meaning", None),
        ("content", 5),
        ("model", {"hidden": 5}),
        ("examples", {}),
        ("validation_loss", 4),
        ("validation_loss", "low"),
    ],
)
def test_a_value_of_the_origin_of_another_type(name: str, value: object) -> None:
    data = reindexed(DATA, lambda index: index["origin"].__setitem__(name, value))
    refused(data, f"origin: {name} has a value that hvcod does not write")


@pytest.mark.parametrize("name", [*index_of(DATA)["origin"]])
def test_an_origin_without_one_of_its_values(name: str) -> None:
    data = reindexed(DATA, lambda index: index["origin"].__delitem__(name))
    later = {
        "meaning": "",
        "content": "",
        "model": "",
        "average_decay": None,
        "lineage": "",
        "base": None,
    }
    if name in later:  # which files of earlier versions lack
        assert vars(decode(data, EXPECTED)[0])[name] == later[name]
    else:
        refused(data, f"{name} is missing or unknown")


def test_an_origin_with_more() -> None:
    data = reindexed(DATA, lambda index: index["origin"].__setitem__("x" * 10_000, 1))
    refused(data, "x{80} is missing or unknown")


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\0b", "x" * (LONGEST_NAME + 1)])
def test_names_that_hdf5_does_not_have(name: str) -> None:
    data = reindexed(DATA, lambda index: index["tensors"].update({name: index["tensors"][NAME]}))
    refused(data, "cannot be stored|is longer than")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stored": "int64"}, "stored in a type"),
        ({"stored": "complex64"}, "stored in a type"),
        ({"stored": "storage"}, "stored in a type"),
        ({"stored": None}, "stored in a type"),
        ({"stored": ["float16"]}, "stored in a type"),
        ({"source": "bool"}, "stored in a type"),
        ({"source": "int64"}, "stored in a type"),
        ({"source": ""}, "stored in a type"),
        ({"source": 4}, "stored in a type"),
        ({"shape": 32}, "has no shape"),
        ({"shape": None}, "has no shape"),
        ({"shape": {}}, "has no shape"),
        ({"shape": [1] * 33}, "has no shape"),
        ({"shape": [8.0, 4]}, "not a whole number"),
        ({"shape": [True, 4]}, "not a whole number"),
        ({"shape": [8, "4"]}, "not a whole number"),
        ({"shape": [-8, -4]}, "not a whole number"),
        ({"shape": [[8], 4]}, "not a whole number"),
        ({"offset": -64}, "not a whole number"),
        ({"offset": 64.0}, "not a whole number"),
        ({"offset": None}, "not a whole number"),
        ({"offset": 0}, "outside the file, or misplaced"),
        ({"offset": 2048 + 2}, "outside the file, or misplaced"),
        ({"offset": 2**40}, "outside the file, or misplaced"),
        ({"offset": 10**18}, "outside the file, or misplaced"),
        ({"shape": [0, 4]}, "outside the file, or misplaced"),
        ({"shape": [2**40, 2**20]}, "outside the file, or misplaced"),
        ({"shape": [2**62, 2**62]}, "outside the file, or misplaced"),
        ({"shape": [2**62, 2**62, 0], "offset": 0}, "absurd shape"),
        ({"shape": [4, 8]}, "has shape"),
        ({"shape": [32]}, "has shape"),
        ({"shape": []}, "has shape"),
        ({"shape": [0, 4], "offset": 0}, "has shape"),
        ({"more": 1}, "does not have the keys"),
    ],
)
def test_a_tensor_that_cannot_be(change: dict[str, Any], message: str) -> None:
    refused(reindexed(DATA, lambda index: index["tensors"][NAME].update(change)), message)


@pytest.mark.parametrize("key", ["stored", "source", "shape", "offset"])
def test_a_tensor_without_one_of_its_values(key: str) -> None:
    data = reindexed(DATA, lambda index: index["tensors"][NAME].__delitem__(key))
    refused(data, "does not have the keys")
    refused(reindexed(DATA, lambda index: index["tensors"].update({NAME: key})), "not have the key")


def test_two_tensors_in_one_place() -> None:
    def change(index: dict[str, Any]) -> None:
        index["tensors"]["lstm.0.bias"]["offset"] = index["tensors"][NAME]["offset"]

    refused(reindexed(DATA, change), "have their values in the same place")


def test_values_may_end_with_the_file_and_not_later() -> None:
    image, size = image_of(DATA), 64
    start = (len(image) - size) // 64 * 64
    last = reindexed(DATA, lambda index: index["tensors"][NAME].update(offset=start))
    decode(last, EXPECTED)
    beyond = reindexed(DATA, lambda index: index["tensors"][NAME].update(offset=start + 64))
    refused(beyond, "outside the file")


def test_unknown_and_missing_names() -> None:
    tensor = index_of(DATA)["tensors"][NAME] | {"shape": [0], "offset": 0}
    data = reindexed(DATA, lambda index: index["tensors"].update({"lstm.9.weight": tensor}))
    refused(data, "tensor lstm.9.weight is not in the local model")
    refused(reindexed(DATA, lambda i: i["tensors"].__delitem__(NAME)), f"tensor {NAME} is missing")


@pytest.mark.parametrize("kind", ["int16", "float64"])
def test_other_numbers(kind: str) -> None:
    # Of half the elements, so that the values keep their place.
    other = {"stored": kind, "source": kind, "shape": [4, 2]}
    data = reindexed(DATA, lambda index: index["tensors"][NAME].update(other))
    refused(data, f"holds {kind} values; the local model's are torch.float32")


def test_a_model_larger_than_the_file_is_refused() -> None:
    huge = dict(EXPECTED) | {NAME: TensorSpec((2**20, 2**20, 2**10), torch.float32)}
    with pytest.raises(RefusedError, match="has shape"):
        decode(DATA, huge)


def test_a_loss_that_json_cannot_say_is_not_known() -> None:
    text = pack(Origin(validation_loss=float("nan")), [])
    assert json.loads(text)["origin"]["validation_loss"] is None


def test_more_tensors_than_a_reader_takes_are_not_written() -> None:
    entries = [Entry(str(n), torch.float16, torch.float32, (1, 1), 64) for n in range(2**18)]
    with pytest.raises(HvcodError, match="262144 tensors are too many"):
        pack(Origin(), entries)
