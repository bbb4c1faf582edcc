"""The random number generators of a rank, as tensors."""

import math
import random

import numpy as np
import torch
from torch import Tensor


class RandomNumbers:
    """The generators of torch (host and device), NumPy and Python as a part of a training state."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the states of the generators; draws nothing."""
        version, words, normal = random.getstate()
        _, keys, position, has_normal, cached = np.random.get_state(legacy=True)
        state = {
            "torch": torch.get_rng_state(),
            "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "numpy_place": torch.tensor([int(position), int(has_normal)]),
            "numpy_normal": torch.tensor([float(cached)], dtype=torch.float64),
            "python_words": torch.tensor([version, *words]),
            "python_normal": torch.tensor(
                [math.nan if normal is None else normal], dtype=torch.float64
            ),
        }
        if self._device.type == "cuda":
            state["device"] = torch.cuda.get_rng_state(self._device)
        return state

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        """Puts the generators back into the states that `state_dict` returned."""
        torch.set_rng_state(state["torch"])
        position, has_normal = state["numpy_place"].tolist()
        keys = state["numpy_keys"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, position, has_normal, float(state["numpy_normal"])))
        version, *words = state["python_words"].tolist()
        normal = float(state["python_normal"])
        random.setstate((version, tuple(words), None if math.isnan(normal) else normal))
        if self._device.type == "cuda" and "device" in state:
            torch.cuda.set_rng_state(state["device"], self._device)
