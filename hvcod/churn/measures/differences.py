"""The distribution of differences between predictions, in a histogram of fixed fine bins.

A bin holds the numbers whose 32-bit float begins with the same 16 bits: sign, exponent and seven
bits of the fraction. So the upper end of a bin is at most 1/128 above its lower end, relative to
its value, however small that is. Histograms of parts of the rows add up to the histogram of all.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_SHIFT = 16
_BINS = int(np.float32(1.0).view(np.uint32) >> _SHIFT) + 1
EDGES = (np.arange(_BINS + 1, dtype=np.uint32) << _SHIFT).view(np.float32).astype(np.float64)


class Differences:
    """Absolute differences, between 0 and 1.

    Attributes:
        counts: The number of differences in each bin.
        largest: The largest difference so far.
    """

    def __init__(self) -> None:
        self.largest = 0.0
        self.counts: npt.NDArray[np.int64] = np.zeros(_BINS, dtype=np.int64)

    def add(self, differences: Floats) -> None:
        """Adds some differences, [N]."""
        bins = differences.astype(np.float32).view(np.uint32) >> np.uint32(_SHIFT)
        self.counts += np.bincount(bins, minlength=_BINS)
        self.largest = max(self.largest, float(differences.max(initial=0.0)))

    def merge(self, other: "Differences") -> None:
        """Adds the counts of another histogram."""
        self.counts += other.counts
        self.largest = max(self.largest, other.largest)

    def quantiles(self) -> dict[str, float]:
        """Returns {share: quantile}: that share of the rows differs by at most the quantile."""
        ends = np.cumsum(self.counts)
        if not ends[-1]:
            return {f"{share:g}": float("nan") for share in QUANTILES}
        bins = np.searchsorted(ends, np.ceil(np.array(QUANTILES) * ends[-1]).clip(1))
        middles = np.where(bins == 0, 0.0, (EDGES[bins] + EDGES[bins + 1]) / 2)
        middles = np.where(np.array(QUANTILES) >= 1, self.largest, middles.clip(0, self.largest))
        return {f"{share:g}": float(value) for share, value in zip(QUANTILES, middles, strict=True)}

    def shares(self, edges: Floats) -> Floats:
        """Returns the share of the rows between each two neighbours of ascending edges."""
        middles = (EDGES[:-1] + EDGES[1:]) / 2
        counts, _ = np.histogram(middles, edges, weights=self.counts)
        return np.asarray(counts / max(1, self.counts.sum()), dtype=np.float64)
