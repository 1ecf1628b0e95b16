"""How a run of the benchmarks is to be done; every benchmark gets one."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How often, how long, and where progress is told.

    `minutes`: how long the benchmarks that watch something over time go on; None: their own short choice. `say` shows a
    line of progress, `tell` one that stays. `quick`: a tenth of the events or so, to see that all works; no figure to
    quote.
    """

    repeats: int
    quick: bool
    minutes: float | None
    peers: bool
    say: Callable[[str], None]
    tell: Callable[[str], None]

    def scaled(self, count: int) -> int:
        return max(1, count // 10) if self.quick else count
