"""Files of weights that anybody may have written: read without running anything, or refused."""

import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from hvcod.errors import HvcodError
from hvcod.tensorfile.origin import Origin
from hvcod.weights.card import Card
from hvcod.weights.kinds import card_path
from hvcod.weights.precision import converted
from hvcod.weights.read import read_weights
from hvcod.weights.write import encoded, write_files

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(3)}


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])
def test_what_is_written_is_read_with_its_card(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    origin = Origin("run", "criteo", 1, 40, model='{"hidden": 5}', meaning="words:" + 32 * "0")
    card = Card.of(origin, {"license": "MIT", "data.built_in": True, "training": {"steps": 50}})
    write_files(path, {path: encoded(path, TENSORS, card)}, card)
    tensors, read = read_weights(path)
    assert {key: value.tolist() for key, value in tensors.items()} == {
        key: value.tolist() for key, value in TENSORS.items()
    }
    assert read is not None
    assert read.origin == origin
    assert (read.built_in, read.training) == (True, {"steps": 50})


def test_others_load_the_files_by_their_own_libraries(tmp_path: Path) -> None:
    card = Card.of(Origin("run", "criteo"), {"license": "MIT"})
    for name in ("m.safetensors", "m.pt"):
        (tmp_path / name).write_bytes(encoded(tmp_path / name, TENSORS, card))
    loaded = safetensors.torch.load_file(tmp_path / "m.safetensors")
    state = torch.load(tmp_path / "m.pt", weights_only=True)
    for tensors in (loaded, state):
        assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    with safetensors.safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata = file.metadata()
    # Without "format" the library of transformers refuses a file.
    assert (metadata["format"], metadata["license"]) == ("pt", "MIT")
    assert json.loads(metadata["hvcod"])["task"] == "criteo"


def test_files_of_others_have_no_card(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    torch.save(model.state_dict(), tmp_path / "blob")
    (tmp_path / "m.pt").symlink_to("blob")  # as in the cache of a model registry
    (tmp_path / "m.pt.json").write_text('{"of": "somebody else"}')
    safetensors.torch.save_file(model.state_dict(), tmp_path / "m.safetensors")
    for name in ("m.pt", "m.safetensors"):
        tensors, card = read_weights(tmp_path / name)
        assert card is None
        assert tensors.keys() == model.state_dict().keys()


class Shell:
    """A pickle that runs a command when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


def bomb() -> bytes:
    """A state dict of a megabyte in an archive of a few kilobytes."""
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.zeros(2**18)}, plain)
    with zipfile.ZipFile(plain) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in whole.infolist():
            out.writestr(entry.filename, whole.read(entry))
    return packed.getvalue()


def saved(value: object) -> bytes:
    memory = io.BytesIO()
    torch.save(value, memory)
    return memory.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "code.pt": (lambda: saved(Shell()), "more than tensors, and reading that could run any code"),
    "old.pt": (lambda: pickle.dumps({"w": Shell()}), "not a file of torch.save, or of a torch"),
    "bomb.pt": (bomb, "it is compressed, as torch.save does not do"),
    "short.pt": (lambda: saved(TENSORS)[:-30], "was cut short"),
    "model.pt": (lambda: saved(3), "it holds a int, not tensors by name"),
    "nothing.pt": (lambda: saved({}), "it holds a dict, not tensors by name"),
    "training.pt": (
        lambda: saved({"epoch": 3, "state_dict": OrderedDict(TENSORS)}),
        r"it holds epoch, state_dict, not tensors alone: .*\['state_dict'\], OTHER\)",
    ),
    "number.pt": (lambda: saved({"lr": 0.1, **TENSORS}), "it holds what is not a tensor: lr"),
    "index.pt": (lambda: saved({3: torch.ones(2)}), "a tensor by 3, which is not a name"),
    "sparse.pt": (
        lambda: saved({"w": torch.ones(2, 2).to_sparse()}),
        "tensor w is not a plain one",
    ),
    "wide.pt": (lambda: saved({"w": torch.ones(1).expand(2**40)}), "w claims more values than"),
    "complex.pt": (lambda: saved({"w": torch.ones(2) * 1j}), "tensor w has the type complex64"),
    "text.safetensors": (lambda: b"no weights at all", "it is not a file of safetensors"),
    "short.safetensors": (lambda: safetensors.torch.save(TENSORS)[:-4], "not a file of safetensor"),
    "huge.safetensors": (lambda: b"\xff" * 8 + b"{}", "it is not a file of safetensors"),
    "card.safetensors": (
        lambda: safetensors.torch.save(TENSORS, {"hvcod": "[" * 100_000}),
        "its card is not JSON",
    ),
    "later.safetensors": (
        lambda: safetensors.torch.save(TENSORS, {"hvcod": '{"format": "hvcod-weights 2"}'}),
        "its card has the format 'hvcod-weights 2', not 'hvcod-weights 1'",
    ),
    "section.safetensors": (
        lambda: safetensors.torch.save(
            TENSORS, {"hvcod": '{"format": "hvcod-weights 1", "versions": "all"}'}
        ),
        "its card has a versions that hvcod does not write",
    ),
    "step.safetensors": (
        lambda: safetensors.torch.save(
            TENSORS, {"hvcod": '{"format": "hvcod-weights 1", "step": "3"}'}
        ),
        "origin: step has a value that hvcod does not write",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_not_weights_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE[name]
    (tmp_path / name).write_bytes(content())
    with pytest.raises(HvcodError, match=message) as raised:
        read_weights(tmp_path / name)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "pwned").exists()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.pt")
    with pytest.raises(HvcodError, match="is not a regular file"):
        read_weights(tmp_path / "m.pt")


def test_the_card_of_another_file_is_not_taken(tmp_path: Path) -> None:
    """Weights that were changed elsewhere are not those that it describes."""
    path, card = tmp_path / "m.pt", Card.of(Origin("run", "criteo"), {})
    write_files(path, {path: encoded(path, TENSORS, card)}, card)
    torch.save({"a.weight": torch.ones(2, 3)}, path)
    with pytest.raises(HvcodError, match=rf"{card_path(path)} is the card of another file: move"):
        read_weights(path)
    card_path(path).unlink()
    assert read_weights(path).card is None


def test_a_precision_that_cannot_hold_weights_names_their_tensors() -> None:
    tensors = {
        "fine": torch.tensor([1.0, 0.1]),
        "running_var": torch.tensor([1.0, 7e4]),
        "other": torch.tensor([-1e30, torch.inf]),
        "count": torch.tensor(2**40),
    }
    with pytest.raises(
        HvcodError,
        match=r"fp16 ends at 65504.*: running_var \(up to 70000\), other \(up to 1e\+30\)",
    ):
        converted(tensors, "fp16")
    results, rounding = converted(tensors, "bf16")
    assert results["count"].item() == 2**40
    assert results["other"][1] == torch.inf
    assert results["fine"].dtype is torch.bfloat16
    assert rounding.tensor == "other"


def test_what_rounding_costs_is_reported() -> None:
    tensors = {"w": torch.tensor([1e-9, 1.0, 0.1]), "z": torch.tensor([0.0, 0.5])}
    results, rounding = converted(tensors, "fp16")
    assert rounding.vanished == {"w": 1}
    assert rounding.tensor == "w"
    assert rounding.error == pytest.approx(abs(float(results["w"][2]) - 0.1), rel=1e-3)
    assert converted(tensors, "fp32")[1].error == 0
