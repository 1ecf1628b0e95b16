"""How rare is this value in its own series? A streaming tail probability, from block maxima, as decimal evidence.

    evidence(u) = -log10 P(a row reaches u)      2.0: one row in a hundred; 6.0: one in a million

The greatest u of each `block_rows` rows is kept for the last `blocks_max` blocks, B in all. Q is the value that k of
them reach, k = 1 + `spared` + `spared_fraction` · B, hence a row reaches Q with probability k / (B · block_rows), and

    u >= Q    P = k / (B · block_rows) · (u / Q)^-α          (a Pareto tail beyond what was seen)
    u <  Q    P = (1 + blocks above u) / ((1 + B) · block_rows)

A calm counter and a spiking latency so get the same unit, and evidence from different series may be added. Incidents
of the past do not make the next one usual: the greatest blocks are spared, and nothing is learnt as more than `winsor`
times Q, so that it takes k wild blocks to double it. Before there is history,
`PRIOR` stands in for it: 20 blocks of a series with heavier tails than the normal distribution has.

Trade-off: α is fixed (3: a value ten times as far is a thousand times as rare) instead of fitted. Of twenty values
above Q a Hill estimate has a standard error of 22 %, and incidents among them bias it to "everything is usual".

Weissman, *Estimation of Parameters and Large Quantiles Based on the k Largest Observations*, JASA 73, 1978; block
maxima as in de Haan and Ferreira, *Extreme Value Theory*, Springer 2006. Zaykin et al., *Truncated Product Method for
Combining P-values*, Genetic Epidemiology 22, 2002.

>>> tail = Tail(TailParams(), TailState())
>>> for i in range(2000): tail.learn(float(i % 50) / 10.0)
>>> round(tail.evidence(2.0), 1), round(tail.evidence(4.9), 1), round(tail.evidence(49.0), 1)
(1.2, 2.2, 5.2)
"""

import math
from collections.abc import Sequence

import msgspec

from detectors.robust import SortedWindow

PRIOR = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.3, 3.6, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0)
EVIDENCE_MAX = 30.0


class TailParams(msgspec.Struct, frozen=True):
    """`block_rows` rows a block, `blocks_max` blocks remembered; `alpha` is the tail's exponent.

    `winsor` is how many times Q a row is learnt as at most.
    """

    block_rows: int = 10
    blocks_max: int = 300
    spared: int = 2
    spared_fraction: float = 0.05
    winsor: float = 2.0
    alpha: float = 3.0

    def __post_init__(self) -> None:
        if self.block_rows < 1 or self.blocks_max < len(PRIOR) or min(self.alpha, self.winsor) <= 0.0:
            raise ValueError(f"block_rows >= 1, blocks_max >= {len(PRIOR)}, alpha and winsor > 0 must hold")
        if not (0 <= self.spared < len(PRIOR) // 2 and 0.0 <= self.spared_fraction < 0.5):
            raise ValueError(f"spared must be in 0..{len(PRIOR) // 2 - 1} and spared_fraction in 0..0.5")


class TailState(msgspec.Struct):
    """Maxima of past blocks, oldest first, and the block that is filling."""

    blocks: list[float] = msgspec.field(default_factory=lambda: list(PRIOR))
    worst: float = 0.0
    rows: int = 0


class Tail:
    """Tail of the non-negative values of one series."""

    def __init__(self, params: TailParams, state: TailState) -> None:
        self.params = params
        self.state = state
        self._blocks = SortedWindow(params.blocks_max, state.blocks)

    def usual(self) -> tuple[float, float]:
        """Q, and the evidence of a row that reaches it."""
        p, blocks = self.params, len(self._blocks)
        k = 1 + p.spared + int(p.spared_fraction * blocks)
        return self._blocks.kth_largest(k), math.log10(blocks * p.block_rows / k)

    def evidence(self, u: float) -> float:
        """-log10 of the probability that a row reaches `u`, in 0..`EVIDENCE_MAX`; never falls as `u` grows."""
        if u <= 0.0:
            return 0.0
        usual, at_usual = self.usual()
        if u >= usual > 0.0:
            return min(at_usual + self.params.alpha * (math.log10(u) - math.log10(usual)), EVIDENCE_MAX)
        blocks, reached = len(self._blocks), self._blocks.count_reaching(u)
        return min(math.log10((1 + blocks) * self.params.block_rows / (1 + reached)), at_usual)

    def learn(self, u: float) -> None:
        """Take one row in."""
        state = self.state
        state.worst = max(state.worst, u)
        state.rows += 1
        if state.rows == self.params.block_rows:
            usual, _ = self.usual()
            self._blocks.push(min(state.worst, self.params.winsor * usual) if usual > 0.0 else state.worst)
            state.worst, state.rows = 0.0, 0


def persistent(last: Sequence[float], u: float) -> float:
    """How far two of the last three rows went the same way, signed: the second greatest on that side.

    >>> persistent([9.0, 0.0], 4.0), persistent([-3.0, 8.0], -2.0), persistent([], 5.0)
    (4.0, -2.0, 0.0)
    """
    if not last:
        return 0.0
    ordered = sorted((*last[-2:], u))
    up, down = max(ordered[-2], 0.0), min(ordered[1], 0.0)
    return up if up >= -down else down


def together(evidence: Sequence[float], least: float = 2.0) -> float:
    """Evidence of several independent witnesses, of whom only those of at least `least` are heard.

    The truncated product: W = Π p_i over p_i <= τ = 10^-least, and the answer is -log10 P(W' <= W) for as many
    witnesses who all have nothing to tell; 0.0 when no one is heard. One witness pays for the silence of the others:

    >>> round(together([4.0]), 2), round(together([4.0, 0.5, 1.0]), 2), round(together([4.0, 3.0, 3.0]), 2)
    (4.0, 3.23, 8.0)
    """
    count, heard = len(evidence), [e for e in evidence if e >= least]
    if not heard:
        return 0.0
    tau, log_w = 10.0**-least, -math.log(10.0) * math.fsum(heard)
    log_tau = math.log(tau)
    terms = []
    for k in range(1, count + 1):
        log_ways = math.log(math.comb(count, k)) + (count - k) * math.log1p(-tau)
        beyond = k * log_tau - log_w
        if beyond < 0.0:
            terms.append(log_ways + k * log_tau)
        else:
            terms.append(log_ways + log_w + math.log(math.fsum(beyond**s / math.factorial(s) for s in range(k))))
    greatest = max(terms)
    log_p = greatest + math.log(math.fsum(math.exp(t - greatest) for t in terms))
    return min(max(-log_p / math.log(10.0), 0.0), EVIDENCE_MAX)
