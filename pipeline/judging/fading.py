"""The usual value of something whose past fades: a mean and a mean absolute deviation, exponentially weighted.

    w = max(1 - 2^(-1 / half_life), 1 / n)                 the first windows count as a plain mean
    m' = m + w · (r - m)        a' = a + w · (|r - m| · scale - a)        σ = √(π/2) · a, of normal noise

What is anomalous is learnt only up to a `reach`, so a new level is accepted within a few half-lives and no single
window moves it far.

>>> usual = Usual()
>>> for r in (1.0, 3.0, 2.0): take_in(usual, r, half_life=30.0)
>>> usual.learned, usual.mean
(3, 2.0)
>>> take_in(usual, 50.0, half_life=30.0, reach=2.0); usual.mean        # a quarter of the way to 2 + 2
2.5
"""

import math

from msgspec import Struct

MEAN_DEVIATION_TO_SIGMA = math.sqrt(math.pi / 2)


class Usual(Struct):
    """`learned` windows; `mean`; `deviation`: the mean absolute one."""

    learned: int = 0
    mean: float = 0.0
    deviation: float = 0.0


def take_in(usual: Usual, r: float, half_life: float, reach: float = math.inf, scale: float = 1.0) -> None:
    """Learn one value, moved to within `reach` of the mean; `scale` makes deviations of unequal noise comparable."""
    if usual.learned:
        r = min(max(r, usual.mean - reach), usual.mean + reach)
    weight = max(1.0 - 0.5 ** (1.0 / half_life), 1.0 / (usual.learned + 1))
    off = r - usual.mean if usual.learned else 0.0
    usual.mean = usual.mean + weight * off if usual.learned else r
    usual.deviation += weight * (abs(off) * scale - usual.deviation)
    usual.learned += 1
