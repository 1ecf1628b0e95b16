"""Level against a held baseline: the slow leak that every one-step forecast follows and forgives.

    m_t = median of the newest `recent` windows
    z_t = (m_t - median(B)) / σ_robust(B)          anomalous when |z_t| > k
    B   = the `baseline_max` windows that are at least `lag` windows old

A forecast that adapts within minutes (`detectors/arima.py`) calls a latency that grows by 2 % a minute normal, every
minute anew. This baseline lies `lag` windows back and moves only when half of it has been replaced, so the growth adds
up: a ramp of r σ a window is found about `k / r` windows after its start (0.3 σ: after 12, where ARIMA flags 0 to 12 of
70 windows); one below 0.15 σ a window is outrun by its own baseline. The median of the newest windows
takes single spikes out of the verdict; they are ARIMA's business.

Trade-off: a daily wave is a slow leak too. With a baseline of two hours, metrics that follow the time of day need a
larger k, or consensus with a metric that does not; the error rate and the latency of a service that is not at
its limit hardly do. After a change for good it stays anomalous for `lag + baseline_max / 2` windows.

Page, *Continuous Inspection Schemes*, Biometrika 41, 1954, on why a fixed reference finds what an adaptive one cannot;
location and scale as in `detectors/robust.py`.

>>> level = Level(LevelParams())
>>> for i in range(60): level.learn(100.0 + i % 5)
>>> found = [level.step(102.0 + 2.0 * i).anomalous for i in range(12)]
>>> found.index(True)
5
"""

import msgspec

from detectors.base import ABSTAIN, Detector, Verdict, banded, finite
from detectors.robust import median, sigma_robust


class LevelParams(msgspec.Struct, frozen=True):
    """Counts are of windows; `sigma_min` is in the metric's own unit: k · sigma_min never matters."""

    baseline_max: int = 120
    lag: int = 10
    recent: int = 3
    ready_after: int = 20
    k: float = 5.0
    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.recent <= self.lag < self.ready_after:
            raise ValueError(f"1 <= recent <= lag < ready_after: {self.recent}, {self.lag}, {self.ready_after}")


class LevelState(msgspec.Struct):
    """The last `lag + baseline_max` values."""

    history: list[float] = []


class Level(Detector[float | None, LevelState]):
    """Distance of one metric's level from its baseline. Scale invariant (sigma_min = 0) and shift invariant."""

    kind = "value"

    def __init__(self, params: LevelParams, state: LevelState | None = None) -> None:
        self.params = params
        self.state = state or LevelState()

    def score(self, x: float | None) -> Verdict:
        value, history, p = finite(x), self.state.history, self.params
        if value is None or len(history) < p.ready_after:
            return ABSTAIN
        baseline = history[: -p.lag]
        newest = median([*history[len(history) - p.recent + 1 :], value])
        return banded(newest, median(baseline), max(sigma_robust(baseline), p.sigma_min), p.k)

    def learn(self, x: float | None) -> None:
        value = finite(x)
        if value is not None:
            self.state.history.append(value)
            del self.state.history[: -(self.params.baseline_max + self.params.lag)]
