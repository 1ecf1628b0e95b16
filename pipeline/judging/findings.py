"""A detector's finding before it is an Anomaly record, and the English sentence that explains it."""

from typing import NamedTuple

from pipeline.judging.metrics import BY_METRIC, COMBINED, PACE
from pipeline.judging.organisations import Surge
from pipeline.judging.pace import Slow
from pipeline.judging.parts import Failing
from pipeline.judging.price import Dear


class Finding(NamedTuple):
    """Numbers in the metric's own unit; `score` in [0, 1]."""

    metric: str
    detector: str
    score: float
    actual: float
    expected: float
    low: float
    high: float
    explanation: str
    organisation: str = ""


REASONS: dict[str, str] = {
    "arima": "outside the one-step forecast's interval",
    "cusum": "and has crept that way for several windows, against the level of the last hours",
    "counts": "more errors than chance explains at the usual rate",
    "silence": "hardly any of those usual in a minute",
    "accumulated": "more errors, over several windows together, than the highest tolerated rate explains",
    "pace": "slower for what is written, and longer answers do not explain it",
    "limit": "beyond the limit that holds whatever is usual",
}


def of_metric(
    metric: str, detector: str, score: float, actual: float, expected: float, low: float, high: float
) -> Finding:
    """A finding in one metric, with its sentence: what it was, what was expected, within which interval, by whom."""
    measure = BY_METRIC[metric]
    show = measure.show
    sentence = (
        f"{measure.label} was {show(actual)}, expected {show(expected)} "
        f"({show(low)} to {show(high)}): {REASONS[detector]}."
    )
    return Finding(
        metric, detector, min(max(score, 0.0), 1.0), actual, expected, low, high, sentence[0].upper() + sentence[1:]
    )


def of_combination(score: float, threshold: float, standing_out: str) -> Finding:
    """The multivariate finding: the isolation score against its threshold."""
    sentence = (
        f"This combination of metrics is rare: isolation score {score:.2f}, expected below {threshold:.2f} "
        f"(0.00 to {threshold:.2f}); {BY_METRIC[standing_out].label} stands out most."
    )
    return Finding(COMBINED, "isolation_forest", min(score, 1.0), score, threshold, 0.0, threshold, sentence)


def of_organisation(surge: Surge, window_s: float) -> list[Finding]:
    """Two witnesses: the organisation's tokens per second against its own usual, and its share of the model's."""
    who = surge.organisation
    actual, expected, limit = (x / window_s for x in (surge.tokens, surge.expected, surge.limit))
    level = (
        f"Organisation {who} used {actual:,.0f} tokens per second, expected {expected:,.0f} "
        f"(0 to {limit:,.0f}), for a while or by far."
    )
    now, before, most = (f"{100 * x:.0f} %" for x in (surge.share, surge.share_expected, surge.share_limit))
    share = f"Organisation {who} used {now} of the model's tokens, expected {before} (0 % to {most})."
    return [
        Finding("tokens_per_s", "organisation", actual / (actual + limit), actual, expected, 0.0, limit, level, who),
        Finding(
            "tokens_share",
            "share",
            surge.share / (surge.share + surge.share_limit),
            surge.share,
            surge.share_expected,
            0.0,
            surge.share_limit,
            share,
            who,
        ),
    ]


def of_price(dear: Dear, cost: int, tokens: int) -> Finding:
    """The price of a token, told as the cost of as many tokens."""
    show = BY_METRIC["cost_microusd"].show
    sentence = (
        f"{tokens:,} tokens cost {show(cost)}, expected {show(dear.expected)} ($0.0000 to {show(dear.high)}): "
        "the price of a token has risen, not their number."
    )
    return Finding("cost_microusd", "price", dear.score, cost, dear.expected, 0.0, dear.high, sentence)


def of_pace(slow: Slow, actual: float) -> Finding:
    """What a token takes, in microseconds."""
    return of_metric(PACE.metric, "pace", slow.score, actual, slow.expected, 0.0, slow.high)


def of_part(failing: Failing) -> list[Finding]:
    """Two witnesses: the part's error rate against its own usual, and against the others' in the same window."""
    who = f"{failing.dimension} {failing.value}"
    now, usual, most, others = (
        f"{100 * x:.1f} %" for x in (failing.actual, failing.expected, failing.high, failing.elsewhere)
    )
    return [
        Finding(
            "error_rate",
            "part",
            failing.score,
            failing.actual,
            failing.expected,
            0.0,
            max(failing.high, failing.expected),
            f"Error rate of {who} was {now}, expected {usual} (0.0 % to {most}): more errors than chance explains.",
        ),
        Finding(
            "error_rate_elsewhere",
            "elsewhere",
            failing.score_elsewhere,
            failing.actual,
            failing.elsewhere,
            0.0,
            max(failing.actual, failing.elsewhere),
            f"Error rate of {who} was {now} while it was {others} elsewhere.",
        ),
    ]
