"""The past windows of each model, kept by the hour so that a checkpoint writes one hour and not a week.

State key `history/<model>/<hour>`: the metrics of that hour's windows, column by column in the order of MEASURES, on
the judging scale, and for each window the metrics that were found anomalous (bit i: metric i).
"""

from typing import Any

from msgspec import Struct

from pipeline.judging.metrics import MEASURES
from pipeline.stage import State

HOURS_MAX = 7 * 24


class Hour(Struct, tag="hour"):
    """`columns[i][j]` is metric i of the hour's window j, `flags[j]` what was anomalous in it."""

    columns: list[list[float | None]]
    flags: list[int]


class Past(Struct):
    """The last windows of a model, oldest first, as columns; `first` is the index (since its start) of row 0."""

    first: int
    columns: list[list[float | None]]
    flags: list[int]


def append(
    state: State[Any], model: str, hours: list[int], hour: int, values: list[float | None], flags: int
) -> list[int]:
    """Keep one more window; returns the hours that are kept, of which there are at most HOURS_MAX."""
    key = _key(model, hour)
    chunk = state.get(key) or Hour([[] for _ in MEASURES], [])
    for column, value in zip(chunk.columns, values, strict=True):
        column.append(value)
    chunk.flags.append(flags)
    state.put(key, chunk)
    kept = hours if hours and hours[-1] == hour else [*hours, hour]
    for old in kept[:-HOURS_MAX]:
        state.drop(_key(model, old))
    return kept[-HOURS_MAX:]


def recent(state: State[Any], model: str, hours: list[int], learned: int, windows_max: int) -> Past:
    """The last `windows_max` windows of a model that has learnt `learned`."""
    chunks: list[Hour] = []
    found = 0
    for hour in reversed(hours):
        chunk = state.get(_key(model, hour))
        if found >= windows_max or chunk is None:
            break
        chunks.append(chunk)
        found += len(chunk.flags)
    chunks.reverse()
    columns = [[x for chunk in chunks for x in chunk.columns[i]][-windows_max:] for i in range(len(MEASURES))]
    flags = [x for chunk in chunks for x in chunk.flags][-windows_max:]
    return Past(first=learned - len(flags), columns=columns, flags=flags)


def forget(state: State[Any], model: str, hours: list[int]) -> None:
    for hour in hours:
        state.drop(_key(model, hour))


def _key(model: str, hour: int) -> str:
    return f"history/{model}/{hour}"
