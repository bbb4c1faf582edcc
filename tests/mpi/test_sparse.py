"""Embedding tables whose gradients travel by rows: the same updates as whole ones."""

from pathlib import Path

import pytest
import torch
from conftest import MpiRun


@pytest.mark.parametrize("ranks", [1, 2])
def test_rows_are_updated_as_whole_tables_are(
    fast_mpirun: MpiRun, tmp_path: Path, ranks: int
) -> None:
    runs = ["adagrad-sparse", "adagrad-dense", "adam-sparse"]
    fast_mpirun(ranks, "sparse_rows.py", tmp_path, *runs)
    rows, whole, adam = (
        [torch.load(tmp_path / f"{run}-{rank}.pt") for rank in range(ranks)] for run in runs
    )
    for name, tensor in rows[0].items():
        assert all(torch.equal(tensor, other[name]) for other in rows)
        torch.testing.assert_close(tensor, whole[0][name], rtol=1e-9, atol=1e-12)
    # Adam has no updates for rows that are not there.
    assert all(torch.equal(adam[0][name], adam[-1][name]) for name in adam[0])
