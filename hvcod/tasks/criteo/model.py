"""The click model (paper, section 3.1): ReLU layers over integers and embedded categories."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hvcod.products import Linear
from hvcod.tasks.criteo.dataset import CATEGORIES, INTEGERS

INITIAL_DEVIATION = 0.05
"""Of the embeddings, drawn from a normal distribution."""


class ClickModel(nn.Module):
    """Predicts the logit of a click.

    The first layer reads, for each integer feature, its value (0 where it is missing) and whether
    it is missing, and the embedding of each categorical feature, from one table that all share.
    """

    def __init__(self, table_rows: int, embedding: int, hidden: Sequence[int]) -> None:
        super().__init__()
        # Sparse: the gradient has the rows of the batch and no others.
        self.table = nn.Embedding(table_rows, embedding, sparse=True)
        nn.init.normal_(self.table.weight, std=INITIAL_DEVIATION)
        sizes = [2 * INTEGERS + CATEGORIES * embedding, *hidden]
        layers: list[nn.Module] = []
        for size, units in zip(sizes, hidden, strict=False):
            layers += [Linear(size, units), nn.ReLU()]
        self.layers = nn.Sequential(*layers, Linear(sizes[-1], 1))

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Logits [N].

        Args:
            inputs: Integers, float32 [N, 13] with NaN where missing, and categories [N, 26], rows
                of the table.
        """
        integers, categories = inputs
        missing = integers.isnan()
        embedded = self.table(categories).flatten(1)
        known = integers.masked_fill(missing, 0.0)
        features = torch.cat([known, missing.to(known.dtype), embedded], dim=1)
        logits: Tensor = self.layers(features).squeeze(1)
        return logits
