"""Location and spread that a few wild values cannot move.

    median        of the last n values
    MAD           median of |x - median|;  σ ≈ 1.4826 · MAD for a normal distribution
    σ_robust      the larger of 1.4826 · MAD and half a standard deviation, so that a series which is constant half
                  of the time (MAD = 0) does not call its other half anomalous

The median breaks down only when half of the window is contaminated (mean and standard deviation: one value). The
price is efficiency: on clean normal data a median needs 1.57 times as many values as a mean for the same precision.

Huber, *Robust Statistics*, Wiley 1981; Rousseeuw and Croux, *Alternatives to the Median Absolute Deviation*, JASA 1993.

>>> median([1.0, 2.0, 3.0, 4.0, 1000.0]), mad([1.0, 2.0, 3.0, 4.0, 1000.0])
(3.0, 1.0)
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence

MAD_TO_SIGMA = 1.4826


def median(values: Sequence[float]) -> float:
    """Median of at least one finite value."""
    return _median_sorted(sorted(values))


def mad(values: Sequence[float]) -> float:
    """Median absolute deviation from the median, of at least one finite value."""
    return mad_sorted(sorted(values))


def _median_sorted(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * ordered[half - 1] + 0.5 * ordered[half]


def mad_sorted(ordered: Sequence[float], centre: float | None = None) -> float:
    """MAD of an already sorted sequence in O(log n): the deviations left and right of the median are two sorted runs.

    Even lengths take the upper of the two middle deviations; the difference is below the spacing of the values.

    >>> mad_sorted([1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0])
    1.0
    """
    n = len(ordered)
    middle = _median_sorted(ordered) if centre is None else centre
    split = bisect_left(ordered, middle)
    wanted = n // 2  # how many deviations lie below the one sought
    low, high = max(0, wanted - (n - split)), min(split, wanted)
    while low < high:  # how many of the `wanted` smallest deviations come from the left run
        left = (low + high) // 2
        right = wanted - left
        if right > 0 and middle - ordered[split - 1 - left] < ordered[split + right - 1] - middle:
            low = left + 1
        else:
            high = left
    candidates = []
    if low < split:
        candidates.append(middle - ordered[split - 1 - low])
    if split + wanted - low < n:
        candidates.append(ordered[split + wanted - low] - middle)
    return min(candidates)


def sigma_robust(values: Sequence[float]) -> float:
    """The larger of 1.4826 · MAD and half a standard deviation of at least one finite value.

    >>> round(sigma_robust([0.0] * 9 + [1.0]), 3)
    0.15
    """
    scale = max(abs(v) for v in values)
    if scale == 0.0:
        return 0.0
    units = [v / scale for v in values]  # so that 1e300 does not overflow when squared
    mean = math.fsum(units) / len(units)
    deviation = math.sqrt(math.fsum((u - mean) ** 2 for u in units) / len(units))
    return scale * max(MAD_TO_SIGMA * mad(units), 0.5 * deviation)


class SortedWindow:
    """The last `size_max` values, in order of arrival and sorted: O(log n) median, MAD and quantiles.

    Built from a plain list, which is all that has to be stored: `SortedWindow(size_max, state.values)` keeps that very
    list up to date.
    """

    def __init__(self, size_max: int, values: list[float]) -> None:
        self.size_max = size_max
        self.values = values
        self._ordered = sorted(values)

    def __len__(self) -> int:
        return len(self.values)

    def push(self, value: float) -> None:
        """Take `value` in; the oldest falls out of a full window."""
        self.values.append(value)
        insort(self._ordered, value)
        if len(self.values) > self.size_max:
            oldest = self.values.pop(0)
            del self._ordered[bisect_left(self._ordered, oldest)]

    def median(self) -> float:
        return _median_sorted(self._ordered)

    def mad(self) -> float:
        return mad_sorted(self._ordered)

    def kth_largest(self, k: int) -> float:
        """The k-th largest value, k from 1 to the number of values."""
        return self._ordered[-k]

    def count_reaching(self, value: float) -> int:
        """How many values are `value` or more."""
        return len(self._ordered) - bisect_left(self._ordered, value)

    def mean_of_largest(self, k: int) -> float:
        """Mean of the k largest values, k from 1 to the number of values."""
        return math.fsum(v / k for v in self._ordered[-k:])

    def nearest(self, x: float, k: int) -> list[float]:
        """Distances from `x` to the k nearest values (fewer when there are fewer), ascending, in O(log n + k)."""
        ordered, right = self._ordered, bisect_left(self._ordered, x)
        left, distances = right - 1, list[float]()
        while len(distances) < k and (left >= 0 or right < len(ordered)):
            if right == len(ordered) or (left >= 0 and x - ordered[left] <= ordered[right] - x):
                distances.append(x - ordered[left])
                left -= 1
            else:
                distances.append(ordered[right] - x)
                right += 1
        return distances
