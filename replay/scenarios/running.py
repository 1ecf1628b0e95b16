"""Runs scenarios through the stages that run live, from slices to alerts, and judges what they say.

Several scenarios run as one deployment: their windows are made one by one, then judged together, each model under a
name of its own. That is how detection is built to run (it judges the models of a minute in arrays), and several times
as fast as one after the other. The noise budget of all models is that of as many deployments, or what is found in one
scenario would hang on how many others are judged beside it.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline.judging.families import ANNOUNCED
from pipeline.settings import Settings
from pipeline.stage import Output
from replay.offline import Offline
from replay.scenarios import naive
from replay.scenarios.judging import Opened, Verdict, judge
from replay.scenarios.world import START_US, Scenario
from topics.control import Relayed
from topics.links import Moment, Sudden
from topics.records import Alert, Judged, MetricWindow, SlicesEvent

TELLING = 2_000  # records between two words of progress
SEPARATOR = "@"

Closed = MetricWindow | Moment | Relayed
"""What detection reads."""

Weighed = Judged | Sudden | Relayed
"""What alerting reads."""

Progress = Callable[[float], None]
"""Told how far the work has come, from 0 to 1."""


def windows(scenario: Scenario, settings: Settings, progress: Progress | None = None) -> list[Closed]:
    """What the windows stage passes to detection, in order."""
    closed: list[Closed] = []

    def watch(link: str, outputs: Sequence[Output]) -> None:
        if link == "closed":
            closed.extend(output.value for output in outputs)

    offline = Offline(settings, _nowhere, partitions=1, stages=("windows",), watch=watch)
    offline.feed_records("slices", 0, told(scenario, progress))
    return closed


def verdicts(
    scenarios: Sequence[Scenario],
    closed: Sequence[list[Closed]],
    settings: Settings,
    progress: Progress | None = None,
    judged: list[Weighed] | None = None,
) -> list[Verdict]:
    """Judge the windows of all scenarios together, and score each. `judged` takes what alerting was told."""
    alerts: list[Alert] = []

    def sink(alias: str, key: str, value: Any) -> None:
        if alias == "alerts":
            alerts.append(value)

    def watch(link: str, outputs: Sequence[Output]) -> None:
        if link == "judged" and judged is not None:
            judged.extend(output.value for output in outputs)

    stages = ("detection", "alerting")
    offline = Offline(of_several(settings, len(scenarios)), sink, partitions=1, stages=stages, watch=watch)
    streams = [_named(scenario.seed, own) for scenario, own in zip(scenarios, closed, strict=True)]
    total, merged = sum(map(len, closed)), (event for _, event in heapq.merge(*streams, key=lambda pair: pair[0]))
    offline.feed_records("closed", 0, _counted(merged, total, progress))
    return by_scenario(scenarios, alerts)


def by_scenario(scenarios: Sequence[Scenario], alerts: Iterable[Alert]) -> list[Verdict]:
    """Score the alerts of scenarios that were judged as one deployment."""
    by_seed: dict[int, list[Opened]] = {scenario.seed: [] for scenario in scenarios}
    for one in opened(alerts):
        model, _, seed = one.model.rpartition(SEPARATOR)
        causes = tuple(cause.removesuffix(SEPARATOR + seed) for cause in one.causes)
        by_seed[int(seed)].append(
            replace(one, model=model, causes=causes, summary=one.summary.replace(one.model, model))
        )
    return [judge(scenario, by_seed[scenario.seed]) for scenario in scenarios]


def of_several(settings: Settings, deployments: int) -> Settings:
    """With the noise budget of so many deployments that are judged as one."""
    alerting = settings.alerting
    budget = max(deployments, 1) * alerting.alerts_a_day_partition
    return replace(settings, alerting=replace(alerting, alerts_a_day_partition=budget))


def naive_verdict(scenario: Scenario, closed: list[Closed]) -> Verdict:
    """What the naive recipe says of the same windows."""
    return judge(scenario, naive.opened([event for event in closed if isinstance(event, MetricWindow)]))


def _named(seed: int, closed: list[Closed]) -> Iterator[tuple[int, Closed]]:
    """Each event with the time it is due, its model named after the scenario."""
    due_us = 0
    for event in closed:
        if isinstance(event, Relayed):
            own = replace(event.event, model=_name(event.event, seed))
            yield due_us, replace(event, event=own)
        else:
            due_us = max(due_us, event.end_us)
            yield due_us, replace(event, model=_name(event, seed))


def _name(event: Any, seed: int) -> str:
    return f"{event.model}{SEPARATOR}{seed}"


def _counted(events: Iterable[Closed], total: int, progress: Progress | None) -> Iterator[Closed]:
    for number, event in enumerate(events):
        if progress is not None and number % TELLING == 0:
            progress(number / total)
        yield event


def told(scenario: Scenario, progress: Progress | None) -> Iterator[SlicesEvent]:
    """The scenario's records; tells now and then how far they have come."""
    span_us = scenario.end_us - START_US
    for number, record in enumerate(scenario.records()):
        if progress is not None and number % TELLING == 0 and not isinstance(record, Relayed):
            progress((record.time_us - START_US) / span_us)
        yield record


def _nowhere(alias: str, key: str, value: Any) -> None:
    """Outputs that nobody reads."""


def opened(alerts: Iterable[Alert]) -> list[Opened]:
    """Each alert once: when it opened, and the gravest and the last that was said of it.

    Word that an announced launch has come is no alarm, neither right nor false. A provisional alert that was withdrawn
    finds nothing; outside incidents it is as false as any.
    """
    steps: dict[str, list[Alert]] = {}
    for alert in alerts:
        steps.setdefault(alert.alert, []).append(alert)
    return [_opened(own) for own in steps.values() if own[-1].kind != ANNOUNCED]


_GRAVITY = ("info", "warning", "critical")


def _opened(steps: list[Alert]) -> Opened:
    first, last = steps[0], steps[-1]
    causes = next((step.causes for step in reversed(steps) if step.causes), [])
    blamed = [f"{cause.dimension}={cause.value}" for cause in causes]
    organisation = next((step.organisation for step in steps if step.organisation), "")
    if organisation and not blamed:
        blamed = [f"organisation={organisation}"]
    return Opened(
        model=first.model,
        kind=last.kind,
        opened_us=first.time_us,
        severity=max((step.severity for step in steps), key=_GRAVITY.index),
        causes=tuple(blamed),
        summary=first.summary,
        withdrawn=last.status == "withdrawn",
    )


def write(scenario: Scenario, folder: Path, progress: Progress | None = None) -> None:
    """slices.jsonl, windows.jsonl (revision 0) and labels.jsonl into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    encode = msgspec.json.Encoder().encode
    with (folder / "slices.jsonl").open("wb") as slices, (folder / "windows.jsonl").open("wb") as minutes:

        def sink(alias: str, key: str, value: Any) -> None:
            if alias == "windows" and value.revision == 0:
                minutes.write(encode(value) + b"\n")

        def written() -> Iterator[SlicesEvent]:
            for record in told(scenario, progress):
                slices.write(encode(record) + b"\n")
                yield record

        Offline(Settings(), sink, partitions=1, stages=("windows",)).feed_records("slices", 0, written())
    with (folder / "labels.jsonl").open("wb") as labels:
        labels.writelines(encode(label) + b"\n" for label in scenario.labels)
