"""Orders of the training data."""

import numpy as np
import numpy.typing as npt


def shuffled(count: int, *seed: int) -> npt.NDArray[np.int64]:
    """A permutation that depends on the seed alone, also in later versions of NumPy (NEP 19)."""
    random = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(random, kind="stable").astype(np.int64)
