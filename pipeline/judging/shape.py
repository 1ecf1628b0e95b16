"""Abrupt or gradual? The shape of a rise, which tells a latency spike from a latency leak.

    rise = median of the last 2 values - median of the first 4
    jump = the largest difference between the means of two neighbouring pairs of values
    gradual when jump < `share` · rise

on logarithms of the last windows. A step puts (nearly) all of the rise into one jump, wherever the minute's border cuts
it; a steady growth spreads it.

>>> is_gradual([0.0] * 6 + [0.04 * i for i in range(10)]), is_gradual([0.0] * 12 + [0.5, 1.1, 1.1, 1.1])
(True, False)
"""

from collections.abc import Sequence

from detectors.robust import median

WINDOWS_MAX = 16
WINDOWS_MIN = 8


def is_gradual(values: Sequence[float], share: float = 0.65) -> bool:
    """`values` oldest first; False when there are too few to tell."""
    recent = values[-WINDOWS_MAX:]
    if len(recent) < WINDOWS_MIN:
        return False
    rise = median(recent[-2:]) - median(recent[:4])
    pairs = [(recent[i] + recent[i + 1]) / 2 for i in range(len(recent) - 1)]
    jump = max(later - earlier for earlier, later in zip(pairs, pairs[2:], strict=False))
    return rise > 0.0 and jump < share * rise
