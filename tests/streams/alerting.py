"""What alerting reads: judged windows, drawn as letters; and control events between them.

.  nothing            l  latency, one witness      x  latency, two witnesses      X  and over the hard limit
e  errors, one witness                             E  errors at 30 %, hard limit  F  errors at 60 %
d  half of the traffic gone                        t  one organisation's tokens   b  E and x together
p  latency, p50 and PELT's break only              c  a rare combination, two metrics moved, none that leads
a  few errors, for long
r  one region fails     m  like x, in maintenance     w  the first token takes longer, the whole answer not half as long
s  a token takes longer, and so do answers           f  p99s alone, of the answer and of its first token
o  only a token takes longer

and what the fast path found, 20 s into a minute:
!  requests stopped   ?  half of the answers failed   %  answers stopped   *  nearly all answers failed   &  ! and *
/  like !, in maintenance   3  three percent of the answers failed
"""

from typing import Any

from hypothesis import strategies as st

from tests.streams.detection import controls
from tests.streams.minutes import START_US
from topics.control import Feedback, Relayed
from topics.fields import MINUTE_US, SECOND_US
from topics.links import Sudden
from topics.records import Anomaly, Judged, MetricWindow

Finding = tuple[str, str, float, float]  # metric, detector, actual, expected

P50: Finding = ("duration_us_p50", "arima", 9e6, 4e6)
P99: Finding = ("duration_us_p99", "arima", 30e6, 12e6)
FIRST: Finding = ("first_token_us_p99", "cusum", 2e6, 1e6)
SLOW: Finding = ("first_token_us_p99", "limit", 14e6, 1e6)
COMBINED: Finding = ("combined", "isolation_forest", 0.7, 0.6)


def _errors(rate: float, *detectors: str) -> tuple[Finding, ...]:
    return tuple(("error_rate", detector, rate, 0.005) for detector in detectors)


LETTERS: dict[str, tuple[Finding, ...]] = {
    ".": (),
    "l": (P50, P99),  # two quantiles of the same durations are one witness
    "x": (P50, FIRST),
    "X": (P50, FIRST, SLOW),
    "e": _errors(0.04, "counts"),
    "a": _errors(0.03, "accumulated"),
    "E": _errors(0.3, "counts", "limit"),
    "F": _errors(0.6, "counts", "limit"),
    "d": (("requests", "arima", 80.0, 300.0), ("tokens_per_s", "arima", 900.0, 3000.0)),
    "t": (("tokens_per_s", "organisation", 3000.0, 700.0), ("tokens_share", "share", 0.6, 0.2)),
    "b": (*_errors(0.3, "counts", "limit"), P50, FIRST),
    "r": (("error_rate", "part", 0.3, 0.005), ("error_rate_elsewhere", "elsewhere", 0.3, 0.005)),
    "p": (P50,),
    "c": (COMBINED, ("tokens_per_s", "arima", 900.0, 3000.0), ("duration_us_p50", "arima", 1e6, 4e6)),
    "m": (P50, FIRST),
    "s": (("us_per_output_token", "pace", 39e3, 30e3), ("duration_us_p50", "arima", 5.2e6, 4e6)),
    "f": (P99, FIRST),
    "o": (("us_per_output_token", "pace", 50e3, 30e3),),
    "w": (FIRST, ("duration_us_p50", "arima", 2e6, 4e6)),
}


SUDDEN: dict[str, tuple[Finding, ...]] = {
    "!": (("requests", "sequential", 0.0, 40.0),),
    "?": (("error_rate", "sequential", 0.5, 0.005),),
    "3": (("error_rate", "sequential", 0.03, 0.005),),
    "*": (("error_rate", "sequential", 0.9, 0.005),),
    "%": (("completions", "sequential", 1.0, 50.0),),
    "/": (("requests", "sequential", 0.0, 40.0),),
    "&": (("requests", "sequential", 0.0, 40.0), ("error_rate", "sequential", 0.9, 0.005)),
}


def sudden(letter: str, minute: int, model: str = "m-large", seconds: int = 20) -> Sudden:
    """What the fast path found in that minute."""
    time_us = START_US + minute * MINUTE_US + seconds * SECOND_US
    anomalies = [
        Anomaly(
            id=f"s-{minute}-{index}",
            time_us=time_us,
            model=model,
            window_start_us=time_us - 10 * SECOND_US,
            metric=metric,
            detector=detector,
            score=0.7,
            actual=actual,
            expected=expected,
            low=0.0,
            high=2.0 * expected,
            explanation=f"{metric} stopped.",
        )
        for index, (metric, detector, actual, expected) in enumerate(SUDDEN[letter])
    ]
    return Sudden(
        model=model,
        time_us=time_us,
        anomalies=anomalies,
        started_us=[time_us - 8 * SECOND_US] * len(anomalies),
        suppressed="maintenance" if letter == "/" else "",
    )


PLAIN, MODEST = 0.7, 0.53  # scores of what is out by 2.3 and by 1.1 times its threshold


def judged(letter: str, minute: int, model: str = "m-large", score: float = PLAIN) -> Judged:
    """The judged window that a letter stands for."""
    start_us, end_us = START_US + minute * MINUTE_US, START_US + (minute + 1) * MINUTE_US
    slow = letter in "lxXbpm"
    window = MetricWindow(
        id=f"0-{minute}-0",
        time_us=end_us,
        model=model,
        start_us=start_us,
        end_us=end_us,
        revision=0,
        requests=300,
        completions=300,
        errors=2,
        error_rate=2 / 300,
        input_tokens=120_000,
        output_tokens=60_000,
        tokens_per_s=3000.0,
        cost_microusd=900_000,
        first_token_us_p99=2_000_000 if slow else 1_000_000,
        duration_us_p50=9_000_000 if slow else 4_000_000,
        duration_us_p99=30_000_000 if slow else 12_000_000,
    )
    anomalies = [_anomaly(index, window, finding, score) for index, finding in enumerate(LETTERS[letter])]
    return Judged(
        id=f"0-{minute}-9",
        time_us=end_us,
        window=window,
        anomalies=anomalies,
        breaks=["duration_us_p50"] if letter == "p" else [],
        suppressed="maintenance" if letter == "m" else "",
    )


def timeline(letters: str, model: str = "m-large", score: float = PLAIN) -> list[Judged | Sudden]:
    """What the letters stand for; a sudden finding lies 20 s into the minute of the next window.

    `y` is x, but always plain.
    """
    minute, events = 0, list[Judged | Sudden]()
    for letter in letters:
        if letter in SUDDEN:
            events.append(sudden(letter, minute, model))
        else:
            plain = letter == "y"
            events.append(judged("x" if plain else letter, minute, model, PLAIN if plain else score))
            minute += 1
    return events


def _anomaly(index: int, window: MetricWindow, finding: Finding, score: float) -> Anomaly:
    metric, detector, actual, expected = finding
    return Anomaly(
        id=f"{window.id}-{index}",
        time_us=window.end_us,
        model=window.model,
        window_start_us=window.start_us,
        metric=metric,
        detector=detector,
        score=score,
        actual=actual,
        expected=expected,
        low=expected / 2,
        high=expected * 1.5,
        explanation=f"{metric} was {actual}, expected {expected}.",
        organisation="org-07" if detector in ("organisation", "share") else "",
    )


@st.composite
def verdicts(draw: st.DrawFn) -> Feedback:
    """On an alert that may have been raised: the laws number partition 1's offsets from 7 on."""
    alert = f"a1-{draw(st.integers(8, 40))}-{draw(st.integers(0, 1))}"
    verdict = draw(st.sampled_from(["false", "false", "false", "true", "note"]))
    return Feedback(id=f"on-{alert}", time_us=START_US, alert=alert, verdict=verdict)


@st.composite
def streams(draw: st.DrawFn) -> list[Any]:
    """Two models minute by minute: runs of one letter, as incidents are, between quiet ones, with sudden findings in
    them; a night or two between."""
    runs = st.lists(st.tuples(st.sampled_from(sorted(LETTERS)), st.integers(1, 7)), min_size=2, max_size=12)
    drawn = {model: "".join(letter * n for letter, n in draw(runs)) for model in ("m-large", "m-small")}
    minutes = max(len(letters) for letters in drawn.values())
    night, days = draw(st.integers(0, 40)), draw(st.integers(0, 20))
    events: list[Any] = [
        judged(letters[minute], minute + (days * 1440 if minute >= night else 0), model)
        for minute in range(minutes)
        for model, letters in drawn.items()
        if minute < len(letters)
    ]
    for letter, place in draw(st.lists(st.tuples(st.sampled_from(sorted(SUDDEN)), st.integers(0, 40)), max_size=6)):
        at = place % (len(events) + 1)
        minute = (events[at].time_us - START_US) // MINUTE_US - 1 if at < len(events) else minutes
        events = [*events[:at], sudden(letter, minute, draw(st.sampled_from(sorted(drawn)))), *events[at:]]
    said = [*draw(st.lists(controls(), max_size=3)), *draw(st.lists(verdicts(), max_size=20))]
    for offset, control in enumerate(said):
        events.insert(draw(st.integers(0, len(events))), Relayed(offset=offset, event=control))
    return events
