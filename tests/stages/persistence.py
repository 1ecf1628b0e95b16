"""Measures how many windows should confirm an alert: `python -m tests.stages.persistence` (some minutes).

Prints the table in the docstring of pipeline/stages/alerting.py: recall and delay over seeded runs of five incidents
each, false alarms in them, and false alarms a quiet model-day, for several rules of persistence. No number anywhere was
chosen on these seeds.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from statistics import median

from pipeline.stage import Batch, State
from pipeline.stages.alerting import Alerting, AlertingParams
from pipeline.stages.detection import Detection, DetectionParams
from tests.streams.minutes import START_US, Incident, planned, windows
from topics.fields import MINUTE_US
from topics.records import Judged, MetricWindow

SEEDS, RATES = range(500, 524), (150.0, 300.0, 600.0)
QUIET_SEEDS, QUIET_RATES, QUIET_MINUTES = range(700, 708), (40.0, 150.0, 300.0, 600.0), 1440
RULES = ((3, 5, 2, 3), (2, 3, 2, 3), (2, 5, 2, 3), (3, 4, 2, 3), (3, 3, 2, 3), (3, 5, 3, 5), (3, 5, 1, 3))
GRACE_WINDOWS = 3

Run = tuple[Sequence[Incident], list[Judged]]


def judge(events: list[MetricWindow]) -> list[Judged]:
    outputs = Detection(DetectionParams()).step(State(), Batch(0, 1, range(len(events)), events))
    return [output.value for output in outputs if output.to == "judged"]


def opened(judged: list[Judged], params: AlertingParams) -> list[int]:
    """The minutes in which an alert opens."""
    outputs = Alerting(params).step(State(), Batch(0, 1, range(len(judged)), judged))
    alerts = [output.value for output in outputs if output.to == "alerts"]
    return [(alert.time_us - START_US) // MINUTE_US - 1 for alert in alerts if alert.status == "open"]


def row(rule: tuple[int, int, int, int], runs: Sequence[Run], quiet: Sequence[list[Judged]]) -> str:
    """Recall, delays by kind and false alarms of one rule."""
    of_windows = {"windows_min": rule[0], "windows_of": rule[1], "hard_min": rule[2], "hard_of": rule[3]}
    params = AlertingParams(**of_windows, one_window=math.inf, two_windows=math.inf)  # persistence alone
    delays: dict[str, list[int]] = defaultdict(list)
    total, false = 0, 0
    for incidents, judged in runs:
        minutes = opened(judged, params)
        spans = [(one, range(one.start, one.start + one.length + GRACE_WINDOWS)) for one in incidents]
        total += len(spans)
        for one, span in spans:
            hits = [minute for minute in minutes if minute in span]
            delays[one.kind] += [hits[0] - one.start + 1] if hits else []
        false += sum(not any(minute in span for _, span in spans) for minute in minutes)
    alarms = sum(len(opened(judged, params)) for judged in quiet)
    kinds = ", ".join(f"{kind} {len(found)} ({median(found):g})" for kind, found in sorted(delays.items()))
    found = sum(len(one) for one in delays.values())
    name = "{} of {}, hard {} of {}".format(*rule)
    return (
        f"{name}: {found} of {total}; found (median delay): {kinds}; {false} false, {alarms / len(quiet):g} a quiet day"
    )


def main() -> None:
    runs: list[Run] = []
    for seed in SEEDS:
        incidents, minutes = planned(seed)
        runs.append((incidents, judge(windows(seed, minutes, incidents, RATES[seed % len(RATES)]))))
    quiet = [judge(windows(s, QUIET_MINUTES, (), QUIET_RATES[s % len(QUIET_RATES)])) for s in QUIET_SEEDS]
    days = sum(len(judged) for judged in chain((judged for _, judged in runs))) / QUIET_MINUTES
    sys.stdout.write(f"{len(runs)} runs with incidents, {days:.1f} model-days; {len(quiet)} quiet model-days\n")
    for rule in RULES:
        sys.stdout.write(row(rule, runs, quiet) + "\n")


if __name__ == "__main__":
    main()
