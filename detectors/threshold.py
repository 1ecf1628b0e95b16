"""Adaptive threshold k(t): the number of baseline standard deviations that an anomaly must exceed follows feedback.

    rate = false alarms / windows judged normal, over the last `judged_min` or more of them
    k ← min(k · step_up, k_max)     when rate > rate_high  (5 %: too many false alarms, be stricter)
    k ← max(k / step_down, k_min)   when rate < rate_low   (1 %: room to be more sensitive)

Truth comes late (a reviewer, or an incident that was closed as "nothing"), so the threshold moves only once
enough windows are judged, and by one bounded step each time. Down is slower than up: a threshold that follows
every quiet hour rings at the next busy one.

Trade-off: `judged_min` windows of delay against a noisy estimate: at 200 windows a true rate of 3 % is measured as
over 5 % one time in twenty.

This is additive-increase control on a log scale; the bounds 5 % and 1 % are the mission's.

>>> state = ThresholdState(k=3.0)
>>> for i in range(200): state = judge(state, ThresholdParams(), alarmed=i % 10 == 0)
>>> round(state.k, 2)
3.45
"""

import msgspec


class ThresholdParams(msgspec.Struct, frozen=True):
    """Rates are fractions of normal windows; `k_min` and `k_max` are in σ."""

    k_start: float = 4.5
    k_min: float = 2.0
    k_max: float = 8.0
    rate_high: float = 0.05
    rate_low: float = 0.01
    step_up: float = 1.15
    step_down: float = 1.05
    judged_min: int = 200

    def __post_init__(self) -> None:
        if not 0.0 < self.k_min <= self.k_start <= self.k_max:
            raise ValueError(f"k_min <= k_start <= k_max must hold: {self.k_min}, {self.k_start}, {self.k_max}")
        if not 0.0 <= self.rate_low < self.rate_high <= 1.0:
            raise ValueError(f"rate_low < rate_high must hold, both in 0..1: {self.rate_low}, {self.rate_high}")
        if self.step_up < 1.0 or self.step_down < 1.0 or self.judged_min < 1:
            raise ValueError("step_up and step_down must be >= 1.0, judged_min >= 1")


class ThresholdState(msgspec.Struct, frozen=True):
    """The threshold in force, and the feedback counted since it last moved or was confirmed."""

    k: float
    judged: int = 0
    false_alarms: int = 0


def start(params: ThresholdParams) -> ThresholdState:
    """The state before any feedback."""
    return ThresholdState(k=params.k_start)


def judge(state: ThresholdState, params: ThresholdParams, alarmed: bool) -> ThresholdState:
    """Count one window that turned out to be *normal*; `alarmed` says whether it had been flagged.

    Windows inside a true incident are not counted: the rate is that of false alarms among normal windows.
    """
    return judge_many(state, params, judged=1, false_alarms=int(alarmed))


def judge_many(state: ThresholdState, params: ThresholdParams, judged: int, false_alarms: int) -> ThresholdState:
    """Count `judged` normal windows at once, `false_alarms` of which had been flagged."""
    if not 0 <= false_alarms <= judged:
        raise ValueError(f"false_alarms must be in 0..judged: {false_alarms} of {judged}")
    total, false = state.judged + judged, state.false_alarms + false_alarms
    if total < params.judged_min:
        return ThresholdState(state.k, total, false)
    return ThresholdState(_moved(state.k, false / total, params))


def _moved(k: float, rate: float, params: ThresholdParams) -> float:
    if rate > params.rate_high:
        return min(k * params.step_up, params.k_max)
    if rate < params.rate_low:
        return max(k / params.step_down, params.k_min)
    return k
