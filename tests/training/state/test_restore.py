"""The examples of a group are shared out to other ranks without a change of their order."""

import pytest
import torch

from hvcod.errors import HvcodError
from hvcod.tensorfile.origin import Origin
from hvcod.training.state.restore import share_out


def about(ranks: int, batch_size: int) -> Origin:
    return Origin("run", "task", step=50, ranks=ranks, batch_size=batch_size)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_rows_keep_their_order(ranks: int, rows: int) -> None:
    everyones = torch.arange(12 * 5 * 7).view(12, 5, 7).movedim(0, rows)
    saved = torch.stack(everyones.chunk(3, rows))  # 3 ranks of 4
    shared = share_out("hidden", saved, about(3, 4), ranks, rows)
    assert shared.shape[0] == ranks
    assert shared.is_contiguous()
    assert torch.equal(torch.cat(list(shared), rows), everyones)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 5, 4)])
def test_what_has_no_rows_cannot_be_shared_out(shape: tuple[int, ...]) -> None:
    with pytest.raises(HvcodError, match=r"hidden of the state of step 50 .* use 3 ranks"):
        share_out("hidden", torch.zeros(shape), about(3, 4), 2, 0)
