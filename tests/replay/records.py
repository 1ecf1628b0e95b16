"""Records of a small invented run, for the tests of collecting, scoring and reporting. Times in minutes."""

from typing import Any

from replay.collect import Collected
from replay.incidents import Incident
from replay.inject import Touched
from topics.control import Command
from topics.fields import MINUTE_US
from topics.records import Alert, Decision, Invalidated, JobEvent, MetricWindow, QuotaVerdict, SafetyVerdict

START_US = 1_760_000_400_000_000
QUOTA = QuotaVerdict(limit_tokens=10, remaining_tokens=0, reserved_tokens=0, reset_us=1, retry_after_us=1)


def at(minute: float) -> int:
    return START_US + round(minute * MINUTE_US)


def incident(kind: str, start: float, end: float, target: str = "m-one") -> Incident:
    return Incident(kind, at(start), at(end), target, 0.5)


def touched(*models: str) -> Touched:
    return Touched(events=7, models=set(models))


def alert(name: str, minute: float, status: str = "open", model: str = "m-one", **rest: Any) -> Alert:
    values = {"severity": "warning", "kind": "error_burst", "windows": 3, "summary": f"summary of {name}.", **rest}
    return Alert(
        id=f"{name}-{status}-{minute:g}", time_us=at(minute), alert=name, status=status, model=model,
        started_us=at(minute - 2), confirmations=["error_rate/arima", "error_rate/counts"], **values,
    )  # fmt: skip


def command(name: str, minute: float, state: str = "issued", action: str = "shift_traffic", **rest: Any) -> Command:
    values = {"alert": "a1", "target": "m-one", "expires_us": at(minute + 15), **rest}
    return Command(
        id=f"{name}-{state}-{minute:g}", time_us=at(minute), command=name, model="m-one", action=action, state=state,
        severity="warning", reason="because", **values,
    )  # fmt: skip


def job(name: str, minute: float, kind: str = "traffic_shifted", command: str = "") -> JobEvent:
    return JobEvent(id=f"j-{name}-{minute:g}", time_us=at(minute), kind=kind, command=command, detail="v2 -> v1")


def invalidated(minute: float, command: str) -> Invalidated:
    return Invalidated(id=f"i-{minute:g}", time_us=at(minute), command=command, model="m-one", epoch=4)


def decision(number: int, minute: float, outcome: str = "admitted", **rest: Any) -> Decision:
    values = {"organisation": "acme", "tier": "pro", **rest}
    return Decision(
        id=f"d{number}", time_us=at(minute), request=f"r{number}", model="m-one", outcome=outcome, reason="",
        quota=QUOTA, safety=None if outcome == "throttled" else SafetyVerdict(
            flagged=["jailbreak"] if outcome == "blocked" else [], scores={}, spans=[], tier="keywords"
        ),
        **values,
    )  # fmt: skip


def window(minute: int, model: str = "m-one", revision: int = 0, **rest: Any) -> MetricWindow:
    values = {"requests": 100, "completions": 100, "errors": 1, "error_rate": 0.01, "first_token_us_p50": 500_000}
    values |= {"first_token_us_p99": 900_000, "duration_us_p50": 3_000_000, "duration_us_p99": 20_000_000, **rest}
    return MetricWindow(
        id=f"w-{model}-{minute}-{revision}", time_us=at(minute + 1), model=model, start_us=at(minute),
        end_us=at(minute + 1), revision=revision, input_tokens=10, output_tokens=10, tokens_per_s=2000.0,
        cost_microusd=1, **values,
    )  # fmt: skip


def collected(**records: list[Any]) -> Collected:
    """Records by topic alias (an underscore for a hyphen), in the order given."""
    result = Collected()
    for alias, values in records.items():
        for value in values:
            result(alias.replace("_", "-"), "", value)
    return result
