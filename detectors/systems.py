"""Recorded systems of many services, with their faults: what `python -m detectors.targets` judges on.

`services(DIR)` reads `DIR/services` (metrics.csv.gz, calls.csv.gz, entry.csv.gz, faults.jsonl: one stream of minutes),
`shop(DIR)` reads `DIR/shop` (normal.csv.gz, issues.csv.gz, issues.jsonl, edges.csv: normal days, then one short stream
an issue). Which metric means what is said once, in `METRICS`, and holds for both. Nothing here knows a name of a
component: who is at the entry follows from the calls, as the service that none of the others calls.
"""

import csv
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from detectors.localise import Call
from detectors.multimetric import Metric, Series, Value

MINUTE_US = 60_000_000
MILLISECOND = 0.001
PERCENT_TENTH = 0.1
OPERATIONS_A_REQUEST = 4.0  # at the entry: its success is a multiple of 1/n where n is a quarter of the operations
ROOT = ("errors", "entry_latency_p50_s", "entry_latency_p90_s", "entry_latency_p95_s", "entry_latency_p99_s")

METRICS = (
    Metric("cpu_pct", "resource", floor=PERCENT_TENTH),
    Metric("memory_pct", "resource", floor=PERCENT_TENTH),
    *(Metric(name, "load") for name in ("syscall_read", "syscall_write", "net_rx_bytes", "net_tx_bytes")),
    *(Metric(name, "load") for name in ("ops_per_s", "requests")),
    *(Metric(f"client_latency_{q}_s", "latency", floor=MILLISECOND) for q in ("p90", "p95", "p99")),
    *(Metric(f"server_latency_{q}_s", "latency", floor=MILLISECOND) for q in ("p90", "p95", "p99")),
    *(Metric(name, "latency", floor=MILLISECOND) for name in ROOT[1:]),
    Metric("answer_s", "latency", floor=MILLISECOND),
    Metric("network_s", "network", floor=MILLISECOND),
    Metric("latency_mean_s", "latency", floor=MILLISECOND, mean_over="requests"),
    *(Metric(f"latency_{q}_s", "latency", floor=MILLISECOND) for q in ("p50", "p90", "p95", "p99")),
    Metric("errors", "errors"),
)

Row = dict[Series, Value]


class Fault(msgspec.Struct, frozen=True):
    """A labelled fault; `symptom` is (entity, "latency" or "errors") where it was noticed, if that is recorded."""

    name: str
    start_us: int
    end_us: int
    kind: str
    target: str
    symptom: tuple[str, str] | None = None


class Stream(msgspec.Struct, frozen=True):
    """Rows in order of time, and the calls between entities."""

    rows: list[tuple[int, Row]]
    calls: frozenset[Call]


class Services(msgspec.Struct, frozen=True):
    """One stream and its faults; `ignored` are (start, end) of unlabelled outages."""

    stream: Stream
    faults: list[Fault]
    ignored: list[tuple[int, int]]


class Shop(msgspec.Struct, frozen=True):
    """Normal rows, and for each fault a stream of its own."""

    normal: list[tuple[int, Row]]
    issues: list[tuple[Fault, Stream]]


# Two outages at the entry without a label, known from the data's own description; times of other data do not meet them.
OUTAGES = (("2022-08-22 06:28:00", "2022-08-22 06:31:59"), ("2022-08-22 06:44:00", "2022-08-22 06:48:59"))


def services(directory: Path) -> Services:
    """The ten services. Raises ValueError naming the file that cannot be read as expected."""
    rows: dict[int, tuple[int, Row]] = {}

    def put(entry: dict[str, str], series: Series, value: Value) -> None:
        time_us = _time_us(entry["timestamp"])
        minute = time_us // MINUTE_US
        at, row = rows.get(minute, (time_us, {}))
        row[series] = value
        rows[minute] = (max(at, time_us), row)

    calls = set()
    for entry in _table(directory / "services" / "calls.csv.gz"):
        calls.add((entry["caller"], entry["callee"]))
        waited, answered = _number(entry["p50_at_caller_s"]), _number(entry["p50_at_callee_s"])
        network = None if waited is None or answered is None else waited - answered
        put(entry, Series(entry["callee"], "answer_s", entry["caller"]), answered)
        put(entry, Series(entry["callee"], "network_s", entry["caller"]), network)
    roots = {caller for caller, _ in calls} - {callee for _, callee in calls}
    if len(roots) != 1:
        raise ValueError(f"{directory / 'services'}: expected one service that no other calls, found {sorted(roots)}")
    root = roots.pop()
    for entry in _table(directory / "services" / "metrics.csv.gz"):
        for name in entry.keys() & {metric.name for metric in METRICS}:
            put(entry, Series(entry["service"], name), _number(entry[name]))
    for entry in _table(directory / "services" / "entry.csv.gz"):
        _, row = rows[_time_us(entry["timestamp"]) // MINUTE_US]
        rate = row.get(Series(root, "ops_per_s"))
        trials = round(60.0 * rate / OPERATIONS_A_REQUEST) if isinstance(rate, float) else 0
        put(entry, Series(root, "errors"), _errors(_number(entry["success_pct"]), trials))
        for name in ROOT[1:]:
            put(entry, Series(root, name), _number(entry[name.removeprefix("entry_")]))
    faults = [_fault(label, label["start"]) for label in _labels(directory / "services" / "faults.jsonl")]
    ignored = [(_time_us(start), _time_us(end)) for start, end in OUTAGES]
    return Services(Stream([rows[m] for m in sorted(rows)], frozenset(calls)), faults, ignored)


def shop(directory: Path) -> Shop:
    """The shop. Raises ValueError naming the file that cannot be read as expected."""
    calls: dict[str, set[Call]] = {}
    for entry in _table(directory / "shop" / "edges.csv"):
        calls.setdefault(entry["load"], set()).add((entry["from"], entry["to"]))
    normal = _windows(directory / "shop" / "normal.csv.gz")
    issues = _windows(directory / "shop" / "issues.csv.gz")
    loads = {entry["issue"]: entry["load"] for entry in _table(directory / "shop" / "issues.csv.gz")}
    found = []
    for label in _labels(directory / "shop" / "issues.jsonl"):
        name = label["issue"]
        stream = Stream(sorted(issues[name].items()), frozenset(calls.get(loads[name], ())))
        found.append((_fault(label, name), stream))
    return Shop(sorted(normal[""].items()), found)


def _windows(path: Path) -> dict[str, dict[int, Row]]:
    """Rows by issue ("" where there is no such column) and time."""
    found: dict[str, dict[int, Row]] = {}
    for entry in _table(path):
        row = found.setdefault(entry.get("issue", ""), {}).setdefault(_time_us(entry["timestamp"]), {})
        component, requests = entry["component"], _number(entry["requests"]) or 0.0
        row[Series(component, "requests")] = requests
        row[Series(component, "errors")] = _errors(_number(entry["availability_pct"]), round(requests))
        for q in ("mean", "p50", "p90", "p95", "p99"):
            row[Series(component, f"latency_{q}_s")] = _number(entry[f"latency_{q}_s"])
    return found


def _errors(success_pct: float | None, trials: int) -> tuple[int, int] | None:
    return None if success_pct is None else (round(trials * (1.0 - success_pct / 100.0)), trials)


def _fault(label: dict[str, Any], name: str) -> Fault:
    symptom = label.get("symptom")
    noticed = (symptom["component"], "latency" if symptom["metric"] == "latency" else "errors") if symptom else None
    return Fault(name, _time_us(label["start"]), _time_us(label["end"]), label["kind"], label["target"], noticed)


def _table(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
        try:
            yield from csv.DictReader(lines)
        except (KeyError, csv.Error, UnicodeDecodeError) as wrong:
            raise ValueError(f"{path}: not the CSV that was expected") from wrong


def _labels(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def _number(text: str) -> float | None:
    return float(text) if text else None


def _time_us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)
