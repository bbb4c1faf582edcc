"""Good files for the fuzzer: small ones, as a group publishes and saves them."""

from functools import cache

import torch
from exchange.support import ABOUT, encoded
from tensorfile.crafting import encode

from hvcod.tensorfile.format import specification
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import lossless

TENSORS = {
    "lstm.0.weight": torch.linspace(-2, 2, 32).reshape(8, 4),
    "lstm.1.weight": torch.linspace(1, 3, 32).reshape(8, 4),
    "lstm.0.bias": torch.linspace(1e-7, 1e-6, 8),
    "norm.num_batches_tracked": torch.tensor(7),
    "mask": torch.tensor([True, False, True]),
    "brain": torch.tensor([[3e38, 1.0]]).bfloat16(),
    "nothing": torch.zeros(0, 3),
}
EXPECTED = specification(TENSORS)


@cache
def seeds() -> dict[str, bytes]:
    """A published checkpoint, a training state, and a state with a user block of 2 KiB."""
    origin = Origin("run-1", "t", step=ABOUT.step, ranks=2, batch_size=4, created="now")
    more = {f"layer.{i}.weight": torch.full((2, 2), float(i)) for i in range(8)}
    return {
        "published": bytes(encoded(dict(TENSORS))),
        "state": bytes(encode(dict(TENSORS), origin, storage=lossless)),
        "larger": bytes(encode(TENSORS | more, origin, storage=lossless)),
    }
