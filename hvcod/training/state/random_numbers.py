"""The random number generators of a rank, as tensors."""

import math
import random

import numpy as np
import torch
from torch import Tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Where the generators of torch (host and device), NumPy and Python are."""
    version, words, normal = random.getstate()
    _, keys, place, has_normal, cached = np.random.get_state(legacy=True)
    state = {
        "torch": torch.get_rng_state(),
        "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_place": torch.tensor([int(place), int(has_normal)]),
        "numpy_normal": torch.tensor([float(cached)], dtype=torch.float64),
        "python_words": torch.tensor([version, *words]),
        "python_normal": torch.tensor(
            [math.nan if normal is None else normal], dtype=torch.float64
        ),
    }
    if device.type == "cuda":
        state["device"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Puts the generators back to where `random_state` found them."""
    torch.set_rng_state(state["torch"])
    place, has_normal = state["numpy_place"].tolist()
    keys = state["numpy_keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, place, has_normal, float(state["numpy_normal"])))
    version, *words = state["python_words"].tolist()
    normal = float(state["python_normal"])
    random.setstate((version, tuple(words), None if math.isnan(normal) else normal))
    if device.type == "cuda" and "device" in state:
        torch.cuda.set_rng_state(state["device"], device)
