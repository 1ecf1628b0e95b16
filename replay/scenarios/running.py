"""Runs a scenario through the stages that run live, from slices to alerts, and judges what they say."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.settings import Settings
from replay.offline import Offline
from replay.scenarios import naive
from replay.scenarios.judging import Opened, Verdict, judge
from replay.scenarios.world import START_US, Scenario
from topics.records import Alert, MetricWindow, SlicesEvent

STAGES = ("windows", "detection", "alerting")
BATCH = 2_000

Progress = Callable[[float], None]
"""Told how far the scenario has come, from 0 to 1."""


class Result(Struct, frozen=True):
    """The pipeline's verdict, and the naive recipe's where it was asked for."""

    ours: Verdict
    naive: Verdict | None = None


def run(scenario: Scenario, settings: Settings, with_naive: bool = False, progress: Progress | None = None) -> Result:
    """Generate, run and judge; the naive recipe sees the windows that the pipeline made."""
    alerts: list[Alert] = []
    windows: list[MetricWindow] = []

    def sink(alias: str, key: str, value: Any) -> None:
        if alias == "alerts":
            alerts.append(value)
        elif alias == "windows" and with_naive and value.revision == 0:
            windows.append(value)

    offline = Offline(settings, sink, partitions=1, stages=STAGES)
    offline.feed_records("slices", 0, told(scenario, progress))
    ours = judge(scenario, opened(alerts))
    return Result(ours, judge(scenario, naive.opened(windows)) if with_naive else None)


def told(scenario: Scenario, progress: Progress | None) -> Iterator[SlicesEvent]:
    """The scenario's records; tells now and then how far they have come."""
    span_us = scenario.end_us - START_US
    for number, record in enumerate(scenario.records()):
        if progress is not None and number % BATCH == 0:
            progress((getattr(record, "time_us", START_US) - START_US) / span_us)
        yield record


def opened(alerts: Iterable[Alert]) -> list[Opened]:
    """Each alert once: when it opened, and the gravest and the last that was said of it."""
    steps: dict[str, list[Alert]] = {}
    for alert in alerts:
        steps.setdefault(alert.alert, []).append(alert)
    return [_opened(own) for own in steps.values()]


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
    )


def write(scenario: Scenario, folder: Path, progress: Progress | None = None) -> None:
    """slices.jsonl, windows.jsonl (revision 0) and labels.jsonl into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    encode = msgspec.json.Encoder().encode
    with (folder / "slices.jsonl").open("wb") as slices, (folder / "windows.jsonl").open("wb") as windows:

        def sink(alias: str, key: str, value: Any) -> None:
            if alias == "windows" and value.revision == 0:
                windows.write(encode(value) + b"\n")

        def written() -> Iterator[SlicesEvent]:
            for record in told(scenario, progress):
                slices.write(encode(record) + b"\n")
                yield record

        Offline(Settings(), sink, partitions=1, stages=("windows",)).feed_records("slices", 0, written())
    with (folder / "labels.jsonl").open("wb") as labels:
        labels.writelines(encode(label) + b"\n" for label in scenario.labels)
