"""An average of the weights that is kept beside them and published to nobody (``--average``)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training.toy import train

from hvcod.errors import HvcodError
from hvcod.groups.communicator import Alone
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.training.finished.weights import Weights

APART: dict[str, Any] = {
    "codistill.exchange": "in-process",
    "groups": 2,
    "codistill.burn_in": 100,
    "validate_average": True,
    "keep_best": "average_loss",
    "model.dropout": 0.25,
}


def validations(run: Path) -> list[dict[str, float]]:
    text = (run / "group-1/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines() if "validation_loss" in line]
    names = "step", "validation_loss", "validation_average_loss"
    return [{name: line[name] for name in names} for line in lines]


def state(run: Path, step: int) -> Path:
    return run / f"group-1/state/step-{step:08}.h5"


def average_in(path: Path) -> dict[str, torch.Tensor]:
    weights = Weights(path, Alone(), average=True)
    tensors = weights._tensors
    assert tensors is not None
    return tensors


def test_it_is_the_one_that_would_be_published_but_is_not(tmp_path: Path) -> None:
    kept, published = tmp_path / "kept", tmp_path / "published"
    train(kept, **APART, average=0.9)
    train(published, **APART, **{"codistill.publish_average": 0.9})
    assert validations(kept) == validations(published)
    for line in validations(kept):
        assert line["validation_average_loss"] != line["validation_loss"]
    mine, theirs = (average_in(state(run, 18)) for run in (kept, published))
    raw = Weights(state(kept, 18), Alone())._tensors
    assert raw is not None
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name])
        assert not torch.equal(tensor, raw[name])
    origin, tensors = decode_tensors(read_file(kept / "group-1/published/step-00000018.h5", 10**6))
    assert origin.average_decay is None
    torch.testing.assert_close(tensors["out.weight"].float(), raw["out.weight"], atol=1e-3, rtol=0)


def test_a_run_without_one_says_so(tmp_path: Path) -> None:
    train(tmp_path / "run", steps=1)
    path = tmp_path / "run/group-0/state/step-00000001.h5"
    with pytest.raises(HvcodError, match="trained without --average and --publish-average"):
        Weights(path, Alone(), average=True)
