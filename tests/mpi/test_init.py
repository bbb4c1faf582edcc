"""``hvcod train --init`` in a launch: the roots read the file, and all ranks begin with it."""

from collections.abc import Callable
from pathlib import Path

import torch
from forkserver.launches import ForkServer

from hvcod.groups.communicator import Alone
from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.model import LanguageModel
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.training.finished.weights import Weights

SMALL = {"model.embedding": 8, "model.hidden": 16, "batch_size": 4, "validation_examples": 32}
STILL = {"optimizer.learning_rate": 0, "steps": 2, "codistill.exchange_interval": 1}


def command(data: Path, run: Path, init: Path, groups: int) -> list[object]:
    words: list[object] = ["hvcod", "train", "--data", data, "--run-dir", run, "--init", init]
    words += [
        word for key, value in (SMALL | STILL).items() for word in ("--set", f"{key}={value}")
    ]
    return [*words, "--groups", groups, "--burn-in", 0]


def test_all_ranks_of_all_groups_begin_with_a_file(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, scale: Callable[[int, int], int]
) -> None:
    run, path, groups = tmp_path / "run", tmp_path / "theirs.pt", scale(1, 2)
    model = LanguageModel(TokenDataset(tiny_data).vocabulary_size, 8, LayerNormLSTM(8, 16, 1))
    theirs = model.state_dict()
    torch.save(theirs, path)
    fast_mpirun(2 * groups, *command(tiny_data, run, path, groups))
    for group in range(groups):
        state = Weights(run / f"group-{group}/state/step-00000002.h5", Alone()).tensors()
        assert all(torch.equal(state[name], tensor) for name, tensor in theirs.items())
    torch.save({**theirs, "more": torch.ones(1)}, path)
    other = command(tiny_data, tmp_path / "other", path, groups)
    failed = fast_mpirun(2 * groups, *other, check=False)
    assert failed.returncode == 1
    message = f"--init {path} does not fit the model that this run trains: it has, and"
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
