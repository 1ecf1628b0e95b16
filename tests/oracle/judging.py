"""The comparison: all that two workers wrote, through whatever happened to them, against what the logs say.

Requests, tokens and windows against the oracle; detection and what follows it, which no second code derives, record for
record against the driver without Kafka over the same recorded slices and control logs.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.intake import Raw
from pipeline.settings import Settings
from replay.offline import Offline
from tests.oracle.oracle import Expected, event_of, expect
from tests.oracle.quota_model import Verdict
from tests.oracle.reading import Log, Place, Record, processed
from tests.oracle.recorded import Findings, Records, compare, once
from tests.oracle.traffic import BLOCKED
from tests.oracle.window_model import Cell, Counted, quantile

PUBLISHED = (
    "decisions",
    "windows",
    "anomalies",
    "alerts",
    "incidents",
    "thresholds",
    "commands",
    "jobs",
    "invalidations",
    "dead-letters",
)
FOLLOWING = ("windows", "detection", "alerting", "mitigation", "relay", "scheduler", "cache", "incidents")
FOLLOWED = ("windows", "anomalies", "alerts", "incidents", "thresholds", "commands", "jobs", "invalidations")
SUMS = ("requests", "completions", "errors", "input_tokens", "output_tokens", "cost_microusd")
QUANTILES = {
    "first_token_us": ("first_token_us_p50", "first_token_us_p99"),
    "duration_us": ("duration_us_p50", "duration_us_p99"),
}
ACCURACY_PERCENT = 1
TOO_LATE_PERCENT_MAX = 1  # the traffic itself has 0.1 %
MINUTE_US = 60_000_000

Logs = Mapping[str, Log]


class Judgement:
    """What was compared (`counts`) and what was wrong (`findings`)."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.counts: dict[str, int] = {}

    @property
    def balanced(self) -> bool:
        return not self.findings.counts


def judge(logs: Logs, done: Mapping[Place, int], produced: int) -> Judgement:
    """`logs`: every topic as recorded; `done`: the offsets that the workers committed at the end.

    `produced`: how many records the run wrote into the traffic topic, its ticks not counted.
    """
    judgement = Judgement()
    findings = judgement.findings
    fed = {alias: processed(logs[alias], alias, done) for alias in ("traffic", "slices", "control")}
    expected = expect(fed["traffic"])
    _all_there(expected, produced, findings)
    recorded: dict[str, Records] = {}
    for alias in PUBLISHED:
        recorded[alias], repeated = once(logs[alias], alias, findings)
        judgement.counts[alias] = len(recorded[alias])
        judgement.counts["repeated outputs"] = judgement.counts.get("repeated outputs", 0) + repeated
    _decisions(expected, recorded["decisions"], findings)
    _windows(expected, recorded["windows"], findings)
    _relayed(fed["control"], fed["traffic"], findings)
    _what_follows(fed, recorded, expected, findings)
    judgement.counts |= {"settled tokens": expected.settled.total(), "organisations": len(expected.settled)}
    judgement.counts |= {f"{kind} events": count for kind, count in expected.events.items()}
    return judgement


def _all_there(expected: Expected, produced: int, findings: Findings) -> None:
    """Everything was processed; and no tick from a clock that ran ahead made it come too late, balanced or not."""
    events = sum(expected.events[kind] for kind in ("request", "completion", "unreadable"))
    if events != produced:
        findings.add("events not processed", f"{events} of {produced}")
    too_late = expected.events["too late"]
    if too_late * 100 > produced * TOO_LATE_PERCENT_MAX:
        findings.add("events too late", f"{too_late} of {produced}: some tick was far ahead of its partition's events")


def _decisions(expected: Expected, recorded: Records, findings: Findings) -> None:
    """Exactly one for every request, with the outcome and the tokens that the rules give."""
    wanted = {
        f"{partition}-{offset}-0": (_outcome(verdict, expected.prompts[partition, offset]), verdict)
        for (partition, offset), verdict in expected.decisions.items()
    }
    found = {name: (decision["outcome"], _verdict(decision)) for name, decision in recorded.items()}
    compare("decision", found, wanted, findings)


def _outcome(verdict: Verdict, prompt: str) -> str:
    if verdict.throttled:
        return "throttled"
    return "blocked" if prompt in BLOCKED else "admitted"


def _verdict(decision: Mapping[str, Any]) -> Verdict:
    quota = decision["quota"]
    return Verdict(
        request=decision["request"],
        organisation=decision["organisation"],
        throttled=decision["outcome"] == "throttled",
        tier=decision["tier"],
        limit_tokens=quota["limit_tokens"],
        remaining_tokens=quota["remaining_tokens"],
        reserved_tokens=quota["reserved_tokens"],
        reset_us=quota["reset_us"],
        retry_after_us=quota["retry_after_us"],
    )


def _windows(expected: Expected, recorded: Records, findings: Findings) -> None:
    """The last revision of every closed minute says what its events sum up to; revisions have no gaps."""
    if expected.uncorrected:
        findings.add("corrections not out", f"{expected.uncorrected} late events after the last mark: send ticks first")
    latest: dict[Cell, dict[str, Any]] = {}
    revisions: dict[Cell, set[int]] = {}
    for window in recorded.values():
        cell = Cell(window["model"], window["start_us"])
        revisions.setdefault(cell, set()).add(window["revision"])
        if cell not in latest or window["revision"] > latest[cell]["revision"]:
            latest[cell] = window
    for cell, numbers in revisions.items():
        if max(numbers) + 1 != len(numbers) + min(numbers) or min(numbers) > 1:
            findings.add("window revisions with gaps", f"{cell}: {sorted(numbers)}")
    closed = {cell for cell in expected.cells if cell.start_us + MINUTE_US <= expected.closed_us}
    wanted = {cell: _sums(expected.cells.get(cell, Counted())) for cell in closed | latest.keys()}
    compare("window", {cell: _sums_of(window) for cell, window in latest.items()}, wanted, findings)
    for cell, window in latest.items():
        _quantiles(cell, window, expected.cells.get(cell, Counted()), findings)


def _sums(counted: Counted) -> dict[str, int]:
    return {name: getattr(counted, name) for name in (*SUMS, "late_events")}


def _sums_of(window: Mapping[str, Any]) -> dict[str, int]:
    return {name: window.get(name, 0) for name in (*SUMS, "late_events")}


def _quantiles(cell: Cell, window: Mapping[str, Any], counted: Counted, findings: Findings) -> None:
    for measured, names in QUANTILES.items():
        for name, percent in zip(names, (50, 99), strict=True):
            exact, said = quantile(getattr(counted, measured), percent), window.get(name)
            if exact is None or said is None:
                wrong = exact is not said
            else:
                wrong = abs(said - exact) * 100 > exact * ACCURACY_PERCENT
            if wrong:
                findings.add("quantile wrong", f"{cell} {name}: {said}, exactly {exact}")


def _relayed(control: Log, traffic: Log, findings: Findings) -> None:
    """What concerns quotas stands in every traffic partition, in the order of the control log."""
    wanted = _concerning_quotas(control[0])
    for partition, records in traffic.items():
        heard: dict[int, Any] = {}
        for event in filter(None, map(event_of, records)):
            if event["type"] == "relayed":
                heard.setdefault(event["offset"], event["event"])
        if list(heard) != sorted(heard):
            findings.add("relayed out of order", f"traffic/{partition}: {list(heard)}")
        compare(f"relayed event in traffic/{partition}", heard, wanted, findings)


def _concerning_quotas(records: list[Record]) -> dict[int, Any]:
    """Control offset -> event, of plans and throttles; a command that mitigation wrote twice counts once."""
    wanted: dict[int, Any] = {}
    heard: dict[int, list[int]] = {}
    for record in records:
        event = msgspec.json.decode(record.value or b"null")
        source = event.get("source")
        if source is not None:
            if source[1:] <= heard.get(source[0], [-1]):
                continue
            heard[source[0]] = source[1:]
        throttles = event["type"] == "command" and event["action"] == "throttle"
        if event["type"] == "plan" or (throttles and event["state"] in ("issued", "reversed")):
            wanted[record.offset] = event
    return wanted


def _what_follows(fed: Logs, recorded: Mapping[str, Records], expected: Expected, findings: Findings) -> None:
    """Windows, alerts, commands, what the hands did, and all dead letters."""
    reference: dict[str, Records] = {}

    def sink(alias: str, key: str, value: Any) -> None:
        if alias in recorded:
            reference.setdefault(alias, {})[value.id] = msgspec.json.decode(msgspec.json.encode(value))

    driver = Offline(Settings(), sink, len(fed["traffic"]), FOLLOWING, recorded=("control", "slices", "traffic"))
    for alias in ("control", "slices"):
        for partition, records in sorted(fed[alias].items()):
            driver.feed_log(alias, partition, [Raw(*record) for record in records])
    for alias in FOLLOWED:
        compare(f"{alias} (against the driver without Kafka)", recorded[alias], reference.get(alias, {}), findings)
    letters = {_place(letter): True for letter in recorded["dead-letters"].values()}
    wanted = {("tidegate.traffic.v1", *place): True for place in expected.dead}
    wanted |= {_place(letter): True for letter in reference.get("dead-letters", {}).values()}
    compare("dead letter", letters, wanted, findings)


def _place(letter: Mapping[str, Any]) -> tuple[str, int, int]:
    return letter["topic"], letter["partition"], letter["offset"]
