"""Robust location and spread of many series at once: one series a row, NaN where a value is missing.

As `detectors/robust.py`, but for arrays: a thousand rows of 240 values take some milliseconds. A row's result does not
depend on the other rows, to the last bit (sorting and sums along contiguous rows), so a stage may judge together what
happens to be in one batch.

>>> values = np.array([[1.0, 2.0, 3.0, 4.0, 1000.0], [7.0, np.nan, 7.0, np.nan, 8.0]])
>>> median_of(values).tolist(), np.round(sigma_of(values), 2).tolist()
([3.0, 7.0], [199.5, 0.24])
"""

import numpy as np
from numpy.typing import NDArray

from detectors.robust import MAD_TO_SIGMA

Array = NDArray[np.float64]


def median_of(values: Array) -> Array:
    """Median of each row; NaN for a row without any value."""
    return median_sorted(np.sort(values, axis=1), counts_of(values))


def counts_of(values: Array) -> NDArray[np.int64]:
    """How many values each row has."""
    return np.asarray(np.count_nonzero(values == values, axis=1))  # NaN is what does not equal itself


def median_sorted(ordered: Array, counts: NDArray[np.int64]) -> Array:
    """Median of each row of values sorted ascending with NaN at the end."""
    rows, last = np.arange(len(ordered)), np.maximum(counts - 1, 0)
    return np.asarray(0.5 * ordered[rows, last // 2] + 0.5 * ordered[rows, (last + 1) // 2])


def sigma_of(values: Array, centre: Array | None = None) -> Array:
    """The larger of 1.4826 · MAD and half a standard deviation of each row; NaN for a row without any value.

    `centre`: each row's median, where it is known already.
    """
    counts = counts_of(values)
    middle = median_of(values) if centre is None else centre
    distance = values - middle[:, None]
    mad = median_sorted(np.sort(np.abs(distance), axis=1), counts)
    known = np.where(distance == distance, distance, 0.0)
    n = np.maximum(counts, 1)
    mean = known.sum(axis=1) / n
    deviation = np.sqrt(np.maximum((known * known).sum(axis=1) / n - mean * mean, 0.0))
    return np.asarray(np.maximum(MAD_TO_SIGMA * mad, 0.5 * deviation))


def newest_of(values: Array, wanted: int, skip: int = 0) -> Array:
    """Only the `wanted` newest values of each row (newest last) but for the very newest `skip`; the rest is NaN.

    >>> newest_of(np.array([[1.0, 2.0, np.nan, 3.0, 4.0]]), wanted=2, skip=1).tolist()
    [[nan, 2.0, nan, 3.0, nan]]
    """
    known = values == values
    age = np.cumsum(known[:, ::-1], axis=1, dtype=np.int32)[:, ::-1]  # 1 for the newest value of a row
    return np.where(known & (age > skip) & (age <= skip + wanted), values, np.nan)
