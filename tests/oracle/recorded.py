"""What the pipeline really wrote: its output topics, each record once by its coordinate, as plain dictionaries."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tests.oracle.reading import Log

Records = dict[str, dict[str, Any]]
"""Coordinate id -> record."""

SHOWN_MAX = 3


class Findings:
    """What is wrong, counted by kind, with the first few of each kind in full."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._shown: list[str] = []

    def add(self, kind: str, detail: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= SHOWN_MAX:
            self._shown.append(f"{kind}: {detail[:800]}")

    def lines(self) -> list[str]:
        return [*self._shown, *(f"{count} x {kind}" for kind, count in self.counts.items() if count > SHOWN_MAX)]


def once(log: Log, alias: str, findings: Findings) -> tuple[Records, int]:
    """A topic's records by id, and how many were repetitions; one that comes twice must say the same both times."""
    records: Records = {}
    raws: dict[str, bytes] = {}
    repeated = 0
    for recorded in log.values():
        for each in recorded:
            value = msgspec.json.decode(each.value or b"null")
            value = value.get("data", value)
            name = value["id"]
            if name not in records:
                records[name], raws[name] = value, each.value or b""
                continue
            repeated += 1
            if raws[name] != each.value:
                findings.add(f"{alias} came twice with different content", f"{records[name]} and {value}")
    return records, repeated


def compare(kind: str, recorded: Mapping[Any, Any], expected: Mapping[Any, Any], findings: Findings) -> None:
    """The same keys, and the same values."""
    for key in expected.keys() | recorded.keys():
        if key not in recorded:
            findings.add(f"{kind} missing", f"{key}: {expected[key]}")
        elif key not in expected:
            findings.add(f"{kind} that nothing caused", f"{key}: {recorded[key]}")
        elif recorded[key] != expected[key]:
            findings.add(f"{kind} different", f"{key}: recorded {recorded[key]}, expected {expected[key]}")
