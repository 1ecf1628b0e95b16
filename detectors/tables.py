"""The tables of docs/detection.md: `python -m detectors.tables RESULTS.json …`, results of `evaluate --output`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detectors.contenders import ENSEMBLE
from detectors.judge import Events, Windows, columns

HEADS = {
    "events": ("detector", "threshold", "events", "recall", "precision", "F1", "false a day", "delay, rows"),
    "windows": ("detector", "threshold", "windows", "found", "score"),
}
COSTS_HEAD = ("detector", "µs a row", "state bytes")


def tables(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A table a set, and one of the costs of the first result."""
    for result in results:
        for name in dict.fromkeys(row["set"] for row in result["rows"]):
            yield f"**{name}**\n"
            yield from table_of_set([row for row in result["rows"] if row["set"] == name])
    costs = results[0]["costs"]
    rows = [(name, f"{cost['us_per_row']:.0f}", f"{cost['state_bytes']:,}") for name, cost in costs.items()]
    yield from _table(COSTS_HEAD, rows)


def table_of_set(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """By the rules of scoring of the set: events, or the benchmark's windows."""
    kind: type[Events] | type[Windows] = Windows if "windows" in rows[0]["result"] else Events
    cells = [_cells(row, columns(msgspec.convert(row["result"], kind))) for row in rows]
    yield from _table(HEADS["windows" if kind is Windows else "events"], cells)


def _cells(row: dict[str, Any], said: Sequence[str]) -> tuple[str, ...]:
    name = f"**{row['detector']}**" if row["detector"] == ENSEMBLE else row["detector"]
    if "windows" not in row["result"]:
        return (name, row["threshold"], *said[:-1])
    return (name, row["threshold"], str(row["result"]["windows"]), str(row["result"]["hit"]), said[-1])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cells) + " |"
    yield ""


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m detectors.tables RESULTS.json ...")
    decoded = [msgspec.json.decode(Path(name).read_bytes()) for name in sys.argv[1:]]
    sys.stdout.write("\n".join(tables(decoded)) + "\n")
