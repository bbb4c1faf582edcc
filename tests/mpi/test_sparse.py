"""Embedding tables whose gradients travel by rows: the same updates as whole ones."""

from pathlib import Path

import pytest
import torch
from conftest import MpiRun


@pytest.mark.parametrize("ranks", [1, 2])
def test_rows_are_updated_as_whole_tables_are(
    fast_mpirun: MpiRun, tmp_path: Path, ranks: int
) -> None:
    found = {}
    for kind in ("sparse", "dense"):
        fast_mpirun(ranks, "sparse_rows.py", "adagrad", kind, tmp_path / kind)
        found[kind] = [torch.load(tmp_path / f"{kind}-{rank}.pt") for rank in range(ranks)]
    for name, tensor in found["sparse"][0].items():
        assert all(torch.equal(tensor, other[name]) for other in found["sparse"])
        torch.testing.assert_close(tensor, found["dense"][0][name], rtol=1e-9, atol=1e-12)


def test_adam_has_no_updates_for_rows_that_are_not_there(
    fast_mpirun: MpiRun, tmp_path: Path
) -> None:
    fast_mpirun(2, "sparse_rows.py", "adam", "sparse", tmp_path / "adam")
    ranks = [torch.load(tmp_path / f"adam-{rank}.pt") for rank in range(2)]
    assert torch.equal(ranks[0]["tables.4.weight"], ranks[1]["tables.4.weight"])


def test_sgd_refuses_tables(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    done = fast_mpirun(1, "sparse_rows.py", "sgd", "sparse", tmp_path / "sgd", check=False)
    assert "--algorithm sgd: embedding tables" in done.stderr
