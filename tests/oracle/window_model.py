"""What each minute of each model must count, from the events of all traffic partitions. Imports nothing of the stages.

A request counts when it arrives, all else when the completion does. A partition's mark is its latest event time less
5 seconds, down to ten seconds. An event whose ten seconds end at or before the mark is late, and counted in
`late_events` too; one whose ten seconds start over 10 minutes before the mark is too late: a dead letter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SLICE_US = 10_000_000
MINUTE_US = 60_000_000
LATENESS_US = 5_000_000
REVISABLE_US = 10 * MINUTE_US
PRICES_MICROUSD = {"input": 3_000_000, "cached": 300_000, "output": 15_000_000}  # for a million tokens


class Cell(NamedTuple):
    """A model's minute."""

    model: str
    start_us: int


@dataclass
class Counted:
    """What a minute must say. `first_token_us` and `duration_us` are the measured values themselves."""

    requests: int = 0
    completions: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0
    late_events: int = 0
    first_token_us: list[int] = field(default_factory=list)
    duration_us: list[int] = field(default_factory=list)

    def add(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "request":
            self.requests += 1
            return
        self.completions += 1
        self.input_tokens += event["gen_ai.usage.input_tokens"]
        self.output_tokens += event["gen_ai.usage.output_tokens"]
        self.cost_microusd += cost_microusd(event)
        if event.get("error.type"):
            self.errors += 1
            return
        for name, values in MEASURED.items():
            if name in event:
                getattr(self, values).append(round(event[name] * 1_000_000))


MEASURED = {
    "gen_ai.response.time_to_first_chunk": "first_token_us",
    "gen_ai.client.operation.duration": "duration_us",
}


def cost_microusd(completion: Mapping[str, Any]) -> int:
    """Rounded up to whole micro-dollars; cached tokens are part of the input at a price of their own."""
    given, output = completion["gen_ai.usage.input_tokens"], completion["gen_ai.usage.output_tokens"]
    cached = min(given, completion.get("gen_ai.usage.cache_read.input_tokens", 0))
    prices = PRICES_MICROUSD
    total = (given - cached) * prices["input"] + cached * prices["cached"] + output * prices["output"]
    return int(total + 999_999) // 1_000_000


class PartitionTime:
    """How far one traffic partition has come. `first_us`: its first mark; `uncorrected`: late events after the last."""

    def __init__(self) -> None:
        self.first_us: int | None = None
        self.mark_us = 0
        self.uncorrected = 0
        self._latest_us = 0

    def judge(self, time_us: int) -> str:
        """Whether an event of this time is `timely`, `late` or `too late`."""
        start_us = time_us - time_us % SLICE_US
        if self.first_us is None or start_us + SLICE_US > self.mark_us:
            return "timely"
        return "too late" if start_us < self._kept_from_us() else "late"

    def pass_time(self, time_us: int) -> None:
        self._latest_us = max(self._latest_us, time_us)
        reached_us = max(0, self._latest_us - LATENESS_US)
        boundary_us = reached_us - reached_us % SLICE_US
        if self.first_us is None:
            self.first_us = self.mark_us = boundary_us
        elif boundary_us > self.mark_us:
            self.mark_us, self.uncorrected = boundary_us, 0

    def _kept_from_us(self) -> int:
        horizon_us = max(0, self.mark_us - REVISABLE_US)
        return horizon_us - horizon_us % SLICE_US


class WindowModel:
    """All traffic partitions together."""

    def __init__(self, partitions: int) -> None:
        self.cells: dict[Cell, Counted] = {}
        self.times = [PartitionTime() for _ in range(partitions)]

    def take(self, partition: int, event: Mapping[str, Any]) -> bool:
        """One event of a partition's log; False when it came too late to count."""
        if event["type"] == "relayed":
            return True
        time = self.times[partition]
        how = "timely" if event["type"] == "tick" else time.judge(event["time_us"])
        if event["type"] != "tick" and how != "too late":
            self._count(event, late=how == "late")
            time.uncorrected += how == "late"
        time.pass_time(event["time_us"])
        return how != "too late"

    def _count(self, event: Mapping[str, Any], late: bool) -> None:
        model = event.get("gen_ai.request.model") or event["gen_ai.response.model"]
        cell = Cell(model, event["time_us"] - event["time_us"] % MINUTE_US)
        counted = self.cells.setdefault(cell, Counted())
        counted.add(event)
        counted.late_events += late

    @property
    def reached_us(self) -> int:
        """Minutes that end up to here are closed: the mark of the slowest partition."""
        return min(time.mark_us for time in self.times)


def quantile(values: list[int], percent: int) -> int | None:
    """The value of rank ⌈percent / 100 · n⌉; None without values."""
    rank = max(1, -(-len(values) * percent // 100))
    return sorted(values)[rank - 1] if values else None
