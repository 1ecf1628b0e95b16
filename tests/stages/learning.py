"""Measures what feedback and the noise budget do: `python -m tests.stages.learning 1-4` (minutes a seed).

Two labelled weeks a seed (replay/scenarios; 1 to 20 are for tuning) go through windows and detection once, and then
through alerting under several reviewers. A reviewer judges an alert an hour after it opened, by the labels: an alert is
true when an incident of its model runs, or ended less than five minutes ago. Prints, for the second week, in which
lessons can show: recall, false alarms a model-week, and the most alerts that one model raised on one day.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from pipeline.settings import Settings
from pipeline.stage import Batch, State
from pipeline.stages.alerting import Alerting, AlertingParams
from replay.offline import Offline
from replay.scenarios.__main__ import seeds
from replay.scenarios.judging import Verdict, judge
from replay.scenarios.plan import WARM_UP_MINUTES
from replay.scenarios.running import opened
from replay.scenarios.world import START_US, Scenario
from topics.control import Feedback, Relayed
from topics.fields import HOUR_US, MINUTE_US
from topics.moments import time_us
from topics.records import Alert, Judged

WEEK_US = 7 * 24 * HOUR_US
REVIEWED_AFTER_US = HOUR_US
REVIEWED_FROM_US = START_US + WARM_UP_MINUTES * MINUTE_US  # the labels say nothing of the day before
NO_BUDGET = AlertingParams(alerts_a_day=1_000_000, alerts_a_day_partition=1_000_000)

Says = Callable[[bool, Random], str]
"""Given whether an alert is true: true, false, or nothing."""


class Reviewer(NamedTuple):
    """A row of the table."""

    name: str
    params: AlertingParams
    says: Says


def honest(true: bool, _random: Random) -> str:
    return "true" if true else "false"


def complains(true: bool, _random: Random) -> str:
    return "" if true else "false"


def careless(true: bool, random: Random) -> str:
    return honest(true != (random.random() < 0.1), random)


def silent(_true: bool, _random: Random) -> str:
    return ""


REVIEWERS = (
    Reviewer("nobody, no budget", NO_BUDGET, silent),
    Reviewer("nobody", AlertingParams(), silent),
    Reviewer("everything, rightly", AlertingParams(), honest),
    Reviewer("only what is false", AlertingParams(), complains),
    Reviewer("everything, one in ten wrongly", AlertingParams(), careless),
)


def judged_of(scenario: Scenario) -> list[Judged | Relayed]:
    """What alerting reads, in order."""
    found: list[Judged | Relayed] = []

    def sink(alias: str, _key: str, value: object) -> None:
        if alias == "judged":
            found.extend(value.events)  # type: ignore[attr-defined]  # a link's topic holds handoffs

    Offline(Settings(), sink, partitions=1, stages=("windows", "detection")).feed_records(
        "slices", 0, scenario.records()
    )
    return found


def alerts_of(scenario: Scenario, events: Iterable[Judged | Relayed], reviewer: Reviewer) -> list[Alert]:
    """The alerts while the reviewer judges them."""
    stage, state, random = Alerting(reviewer.params), State[object](), Random(scenario.seed)
    due: list[tuple[int, str, str]] = []
    alerts: list[Alert] = []
    for offset, event in enumerate(with_verdicts(events, due)):
        for output in stage.step(state, Batch(0, 1, [offset], [event])):
            if output.to != "alerts":
                continue
            alerts.append(output.value)
            if output.value.status == "open" and output.value.time_us > REVIEWED_FROM_US:
                true = not judge(scenario, opened([output.value])).false
                if verdict := reviewer.says(true, random):
                    heappush(due, (output.value.time_us + REVIEWED_AFTER_US, output.value.alert, verdict))
    return alerts


def with_verdicts(events: Iterable[Judged | Relayed], due: list[tuple[int, str, str]]) -> Iterator[Judged | Relayed]:
    """The events with what falls `due` among them."""
    for event in events:
        while due and isinstance(event, Judged) and due[0][0] <= event.time_us:
            time_us, alert, verdict = heappop(due)
            said = Feedback(id=f"on-{alert}", time_us=time_us, alert=alert, verdict=verdict)  # type: ignore[arg-type]
            yield Relayed(offset=0, event=said)
        yield event


def row(name: str, verdicts: Sequence[Verdict], alerts: Sequence[list[Alert]], weeks: float) -> str:
    findings = [one for verdict in verdicts for one in verdict.findings if _late(one.label.start)]
    found = sum(one.delay_us is not None for one in findings)
    false = sum(one.opened_us >= START_US + WEEK_US for verdict in verdicts for one in verdict.false)
    most = max(_most_a_day(own) for own in alerts)
    return f"{name:32} {found:4} of {len(findings):4} {false / weeks:8.2f} {most:6}"


def _most_a_day(alerts: Iterable[Alert]) -> int:
    days = Counter(
        (a.model, a.time_us // (24 * HOUR_US)) for a in alerts if a.status == "open" and a.severity != "info"
    )
    return max(days.values(), default=0)


def _late(start: str) -> bool:
    at_us = time_us(start)
    return at_us is not None and at_us >= START_US + WEEK_US


def main(arguments: Sequence[str]) -> None:
    scenarios = [Scenario(seed, 2) for seed in seeds(arguments[0])]
    read = [judged_of(scenario) for scenario in scenarios]
    weeks = sum(len(scenario.models) for scenario in scenarios)
    sys.stdout.write(f"{'judged by people':32} {'incidents found':>12} {'false':>6} {'most a day':>6}\n")
    for reviewer in REVIEWERS:
        alerts = [alerts_of(scenario, events, reviewer) for scenario, events in zip(scenarios, read, strict=True)]
        verdicts = [judge(scenario, opened(own)) for scenario, own in zip(scenarios, alerts, strict=True)]
        sys.stdout.write(row(reviewer.name, verdicts, alerts, weeks) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
