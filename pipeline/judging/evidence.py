"""How much speaks for a family in a window, so that what is overwhelming need not persist.

    evidence(window) = sum over independent sources of min(reach, REACH_MAX)        0 unless a steady metric leads
    overwhelming       evidence >= `one` in this window, or >= `two` in it and the one before together
    alone(window)      the reach of what a token takes or costs: of ratios from which volume and length have cancelled

`reach` is how many times its own threshold a witness is out (pipeline.judging.sensitivity), so two witnesses that just
speak bring 2. A source counts once, by its farthest witness; what jumps (a p99) counts nothing, for it is far out
often enough by itself: it has to persist. Tokens that are missing because requests are say nothing new: slices that
never came, ten or thirty seconds of a minute, moved both, and opened alerts of one window. Nor do fewer requests and
shorter answers say that there are too many tokens. The forest judges the same numbers as the others: its vote counts
for what persists, and adds nothing here.

A forecast of counts has heavy tails, so no single one is ever enough. What a token takes or costs has not: in 554,000
quiet windows of tuning seeds the former was never out by 2.7 times its threshold but for announced launches.

Asking for the same number of windows whatever they say ("3 of 5") is right when each is as doubtful as the next. It
throws away how far out they are: Wald's sequential test stops as soon as the sum of what was seen suffices. Reaches
are no log-likelihood ratios, so the two bars are measured (docs/decisions/0005), and persistence still opens what is
small and lasts.

>>> overwhelming(0.0, 5.5, one=5.0, two=5.0), overwhelming(2.4, 2.7, one=5.0, two=5.0)
(True, True)
>>> overwhelming(0.0, 4.5, one=5.0, two=5.0)                    # one window is not enough, nor is one and a quiet one
False
"""

from pipeline.judging.families import DOWN, Family, direction, is_witness, leading, source_of
from pipeline.judging.metrics import COMBINED, STEADY
from pipeline.judging.sensitivity import reach
from topics.records import Judged

REACH_MAX = 4.0
TELLING = frozenset({"pace", "price"})
JUMPY = frozenset({"first_token_us_p99", "duration_us_p99"})  # one slow request in a hundred moves them


def of(family: Family, judged: Judged) -> float:
    """In units of thresholds; what was found in maintenance counts nothing."""
    if judged.suppressed or not any(lead.metric in STEADY for lead in leading(family, judged)):
        return 0.0
    farthest: dict[str, float] = {}
    for anomaly in judged.anomalies:
        if anomaly.metric not in JUMPY and is_witness(family, anomaly):
            source = source_of(anomaly)
            if source == COMBINED or (family.name == "traffic" and source == "tokens"):
                continue
            if family.name == "tokens" and direction(anomaly) == DOWN:
                continue
            farthest[source] = max(farthest.get(source, 0.0), min(reach(anomaly), REACH_MAX))
    return sum(farthest.values())


def alone(family: Family, judged: Judged) -> float:
    """The farthest reach of what needs no second witness; what was found in maintenance counts nothing."""
    if judged.suppressed:
        return 0.0
    return max((reach(lead) for lead in leading(family, judged) if lead.detector in TELLING), default=0.0)


def overwhelming(before: float, now: float, one: float, two: float) -> bool:
    """Whether this window's evidence, or its and that of the window before, suffices."""
    return now >= one or (before > 0.0 and now > 0.0 and before + now >= two)
