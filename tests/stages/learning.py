"""Measures what feedback and the noise budget do: `python -m tests.stages.learning 1,2` (some minutes a seed).

A labelled week (replay/scenarios; seeds 1 to 20 are for tuning) goes through windows and detection once, and then
through alerting under several reviewers: as alerting is, and set far too noisy (one witness, two of five windows). A
reviewer judges an alert an hour after it opened, by the labels: it is true when an incident of its model runs, or ended
less than five minutes ago. The first day, which the labels say nothing of, is not judged and not counted. Prints
incidents found, false alarms a model-week, and the most alerts that paged for one model on one day.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from pipeline.judging.sensitivity import DAY_US
from pipeline.settings import Settings
from pipeline.stage import Batch, State
from pipeline.stages.alerting import Alerting, AlertingParams
from replay.offline import Offline
from replay.scenarios.__main__ import seeds
from replay.scenarios.judging import Verdict, judge, summarise
from replay.scenarios.plan import WARM_UP_MINUTES
from replay.scenarios.running import opened
from replay.scenarios.world import START_US, Scenario
from topics.control import Feedback, Relayed
from topics.fields import HOUR_US, MINUTE_US
from topics.links import JudgedEvent
from topics.records import Alert, Judged

REVIEWED_AFTER_US = HOUR_US
REVIEWED_FROM_US = START_US + WARM_UP_MINUTES * MINUTE_US  # the labels say nothing of the day before
CARELESS = 0.1

Says = Callable[[bool, Random], str]
"""Given whether an alert is true: true, false, or nothing."""


def honest(true: bool, _random: Random) -> str:
    return "true" if true else "false"


def complains(true: bool, _random: Random) -> str:
    return "" if true else "false"


def careless(true: bool, random: Random) -> str:
    return honest(true != (random.random() < CARELESS), random)


def silent(_true: bool, _random: Random) -> str:
    return ""


class Reviewer(NamedTuple):
    """A row of the table."""

    name: str
    says: Says
    budget: bool = True


REVIEWERS = (
    Reviewer("nobody, and no budget", silent, budget=False),
    Reviewer("nobody", silent),
    Reviewer("everything, rightly", honest),
    Reviewer("only what is false", complains),
    Reviewer("everything, one in ten wrongly", careless),
)
SETTINGS = {"as it is": AlertingParams(), "too noisy": AlertingParams(votes_min=1, windows_min=2)}


def unlimited(params: AlertingParams) -> AlertingParams:
    return replace(params, alerts_a_day=1_000_000, alerts_a_day_partition=1_000_000)


def judged_of(scenario: Scenario) -> list[JudgedEvent]:
    """What alerting reads, in order."""
    found: list[JudgedEvent] = []

    def sink(alias: str, _key: str, value: object) -> None:
        if alias == "judged":
            found.extend(value.events)  # type: ignore[attr-defined]  # a link's topic holds handoffs

    Offline(Settings(), sink, partitions=1, stages=("windows", "detection")).feed_records(
        "slices", 0, scenario.records()
    )
    return found


def alerts_of(
    scenario: Scenario, events: Iterable[JudgedEvent], params: AlertingParams, reviewer: Reviewer
) -> list[Alert]:
    """The alerts while the reviewer judges them."""
    stage, state = Alerting(params if reviewer.budget else unlimited(params)), State[object]()
    random = Random(scenario.seed)
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


def with_verdicts(events: Iterable[JudgedEvent], due: list[tuple[int, str, str]]) -> Iterator[JudgedEvent]:
    """The events with what falls `due` among them."""
    for event in events:
        while due and isinstance(event, Judged) and due[0][0] <= event.time_us:
            time_us, alert, verdict = heappop(due)
            said = Feedback(id=f"on-{alert}", time_us=time_us, alert=alert, verdict=verdict)  # type: ignore[arg-type]
            yield Relayed(offset=0, event=said)
        yield event


def row(name: str, verdicts: Sequence[Verdict], alerts: Sequence[list[Alert]]) -> str:
    total = summarise(verdicts)
    found = f"{total.found} of {total.incidents}"
    return f"{name:42} {found:>12} {total.false_per_model_week:8.2f} {max(map(_most_a_day, alerts)):8}"


def _most_a_day(alerts: Iterable[Alert]) -> int:
    days = Counter((a.model, a.time_us // DAY_US) for a in alerts if a.status == "open" and a.severity != "info")
    return max(days.values(), default=0)


def main(arguments: Sequence[str]) -> None:
    scenarios = [Scenario(seed, 1) for seed in seeds(arguments[0])]
    read = [judged_of(scenario) for scenario in scenarios]
    sys.stdout.write(f"{'alerting is, and people judge':42} {'found':>12} {'false':>8} {'a day':>8}\n")
    for setting, params in SETTINGS.items():
        for reviewer in REVIEWERS:
            alerts = [alerts_of(one, events, params, reviewer) for one, events in zip(scenarios, read, strict=True)]
            verdicts = [judge(one, opened(own)) for one, own in zip(scenarios, alerts, strict=True)]
            sys.stdout.write(row(f"{setting}: {reviewer.name}", verdicts, alerts) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
