"""How a record reads as one line for a person: a table from topic alias to a function."""

from collections.abc import Callable
from typing import Any

from rich.text import Text

from topics.codec import rfc3339
from topics.control import Command
from topics.records import (
    Alert,
    Anomaly,
    DeadLetter,
    Decision,
    Incident,
    Invalidated,
    JobEvent,
    MetricWindow,
    Thresholds,
)

SEVERITY_STYLE = {"info": "cyan", "warning": "yellow", "critical": "bold red"}
STATUS_STYLE = {"open": "bold", "update": "", "resolved": "green", "withdrawn": "dim"}
INCIDENT_STYLE = {"opened": "bold", "updated": "", "resolved": "green", "withdrawn": "dim"}
COMMAND_STYLE = {
    "pending_approval": "bold magenta",
    "issued": "bold",
    "reversed": "green",
    "rejected": "dim",
    "expired": "dim",
}
OUTCOME_STYLE = {"admitted": "green", "throttled": "yellow", "blocked": "red"}

Parts = list[tuple[str, str]]


def clock(time_us: int) -> str:
    """`2026-03-01 12:00:03Z`: event time to the second."""
    return rfc3339(time_us)[:19].replace("T", " ") + "Z"


def seconds(duration_us: int | None) -> str:
    return "-" if duration_us is None else f"{duration_us / 1e6:.2f}s"


def alert(value: Alert) -> Parts:
    who = f" organisation {value.organisation}" if value.organisation else ""
    return [
        (f"{value.severity:8}", SEVERITY_STYLE[value.severity]),
        (f"{value.status:9}", STATUS_STYLE[value.status]),
        ("provisional" if value.provisional else "", "magenta"),
        (f"{value.kind} on {value.model}{who}", "bold"),
        (value.summary, ""),
        (f"[{value.alert}]", "dim"),
    ]


def incident(value: Incident) -> Parts:
    return [
        (f"{value.severity:8}", SEVERITY_STYLE[value.severity]),
        (f"{value.status:9}", INCIDENT_STYLE[value.status]),
        (value.title, "bold"),
        (value.cause.explanation, ""),
        (f"{value.open_alerts} of {len(value.alerts)} alerts open", ""),
        (f"[{value.incident}]", "dim"),
    ]


def command(value: Command) -> Parts:
    waits = f"answer with: tidegate approve {value.command}" if value.state == "pending_approval" else ""
    return [
        (f"{value.state:16}", COMMAND_STYLE[value.state]),
        (f"{value.action} {value.target}", SEVERITY_STYLE[value.severity]),
        (value.reason, ""),
        (f"[{value.command} until {clock(value.expires_us)}]", "dim"),
        (waits, "bold magenta"),
    ]


def decision(value: Decision) -> Parts:
    wait = f"retry after {seconds(value.quota.retry_after_us)}" if value.outcome == "throttled" else ""
    return [
        (f"{value.outcome:9}", OUTCOME_STYLE[value.outcome]),
        (f"{value.organisation} {value.model} {value.tier}", ""),
        (value.reason, ""),
        (wait, "yellow"),
        (f"{value.quota.remaining_tokens} tokens left", "dim"),
    ]


def window(value: MetricWindow) -> Parts:
    revised = f"revision {value.revision}" if value.revision else ""
    return [
        (f"{value.model}", "bold"),
        (f"{value.requests} requests, {value.tokens_per_s:.0f} tokens/s", ""),
        (f"errors {value.error_rate:.2%}", "red" if value.error_rate > 0.05 else ""),  # the mission's warning level
        (f"first token p99 {seconds(value.first_token_us_p99)}, whole p99 {seconds(value.duration_us_p99)}", ""),
        (f"${value.cost_microusd / 1e6:.4f}", "dim"),
        (revised, "cyan"),
    ]


def anomaly(value: Anomaly) -> Parts:
    return [
        (f"{value.score:.2f}", "yellow"),
        (f"{value.model} {value.metric} by {value.detector}", "bold"),
        (f"{value.actual:g}, expected {value.expected:g} in [{value.low:g}, {value.high:g}]", ""),
        (value.explanation, "dim"),
    ]


def thresholds(value: Thresholds) -> Parts:
    raised = [f"{each.family} × {each.k:.3g} ({each.reason})" for each in value.families if each.reason]
    return [
        (value.model, "bold"),
        ("; ".join(raised) or "as at first", "yellow" if raised else ""),
        (f"{value.alerts_today} of {value.alerts_a_day} alerts today", ""),
        (f"{value.windows} windows since {clock(value.since_us)}", "dim"),
    ]


def job(value: JobEvent) -> Parts:
    named = [f"{value.gpus} GPUs" if value.gpus else "", value.model, value.job, value.command]
    return [(f"{value.kind:16}", "bold"), (" ".join(filter(None, named)), ""), (value.detail, "dim")]


def invalidated(value: Invalidated) -> Parts:
    return [
        (f"{value.model}", "bold"),
        (f"entries before epoch {value.epoch} are dead", ""),
        (value.detail, "dim"),
        (f"[{value.command}]", "dim"),
    ]


def dead_letter(value: DeadLetter) -> Parts:
    return [
        (f"{value.topic} partition {value.partition} offset {value.offset}", "bold"),
        (f"{value.field}: {value.reason}" if value.field else value.reason, "red"),
        (f"{value.size_bytes} bytes, seen by {value.stage}", "dim"),
    ]


def control(value: Any) -> Parts:
    if isinstance(value, Command):
        return [("command", "bold"), *command(value)]
    if isinstance(value, Alert):
        return [("alert", "bold"), *alert(value)]
    tag = value.__struct_config__.tag
    facts = {name: getattr(value, name) for name in value.__struct_fields__ if name not in ("id", "time_us")}
    said = ", ".join(_fact(name, fact) for name, fact in facts.items() if fact != "")
    return [(f"{tag:12}", "bold"), (said, "")]


def _fact(name: str, value: Any) -> str:
    """`start 2026-03-01 12:00:03Z` of `start_us`; other fields as they are."""
    return f"{name.removesuffix('_us')} {clock(value)}" if name.endswith("_us") else f"{name} {value}"


LINES: dict[str, Callable[[Any], Parts]] = {
    "alerts": alert,
    "incidents": incident,
    "decisions": decision,
    "commands": command,
    "windows": window,
    "dead-letters": dead_letter,
    "anomalies": anomaly,
    "thresholds": thresholds,
    "jobs": job,
    "invalidations": invalidated,
    "control": control,
}


def line(alias: str, value: Any) -> Text:
    """One styled line. Text of records is shown as it is: markup in it means nothing."""
    text = Text(clock(value.time_us), style="dim")
    for part, style in LINES[alias](value):
        if part:
            text.append("  ").append(part.replace("\n", " "), style=style or "not dim")
    return text
