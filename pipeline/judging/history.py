"""The last hours of each model's windows, as packed rows: a checkpoint writes one hour, and reading costs a copy.

State key `history/<model>/<hour>`: rows of float32, one a window: the minute within the hour; which metrics were found
anomalous (bit i: metric i); the metrics in the order of MEASURES on the judging scale, *above the seasonal profile that
was in force*; and that profile. Value and profile add up to what was measured. What days and weeks look like is kept
apart, in slots of five minutes (pipeline.judging.season).

float32 has seven digits, so a value of 20 (a logarithm) is off by 1e-6 at most: a millionth of the metric.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.rows import Array
from pipeline.judging.metrics import MEASURES
from pipeline.stage import State
from topics.fields import HOUR_US, MINUTE_US

HOURS_MAX = 7 * 24
ROWS_MAX = 240  # hours beyond these are dropped
MINUTE, FLAGS, VALUES, PROFILE = 0, 1, 2, 2 + len(MEASURES)
WIDTH = PROFILE + len(MEASURES)
ROW_BYTES = 4 * WIDTH

Rows = NDArray[np.float32]


class Hour(Struct, tag="hour"):
    """Rows of WIDTH numbers, oldest first."""

    rows: bytes = b""


class Past(NamedTuple):
    """The last windows of a model, oldest first; `first` is the index (since its start) of row 0.

    values  [windows, metrics], NaN where missing; flags  [windows]
    """

    first: int
    values: Array
    flags: NDArray[np.int64]


def append(
    state: State[Any], model: str, hours: list[int], at: tuple[int, int], values: Array, profile: Array, flags: int
) -> list[int]:
    """Keep one more window, of (hour, minute); returns the hours kept: the last ROWS_MAX windows, at most HOURS_MAX."""
    hour, minute = at
    row = np.concatenate([[minute, flags], values, profile]).astype(np.float32)
    chunk = state.get(_key(model, hour)) or Hour()
    state.put(_key(model, hour), Hour(chunk.rows + row.tobytes()))
    if hours and hours[-1] == hour:
        return hours
    kept = _needed(state, model, hours[-HOURS_MAX + 1 :])
    for old in hours[: len(hours) - len(kept)]:
        state.drop(_key(model, old))
    return [*kept, hour]


def _needed(state: State[Any], model: str, hours: list[int]) -> list[int]:
    """The newest hours that hold ROWS_MAX windows."""
    rows = 0
    for place in range(len(hours) - 1, -1, -1):
        chunk = state.get(_key(model, hours[place]))
        rows += len(chunk.rows) // ROW_BYTES if chunk else 0
        if rows >= ROWS_MAX:
            return hours[place:]
    return hours


def recent(state: State[Any], model: str, hours: list[int], learned: int, windows_max: int) -> Past:
    """The last `windows_max` windows of a model that has learnt `learned`."""
    chunks: list[bytes] = []
    wanted = windows_max * ROW_BYTES
    for hour in reversed(hours):
        chunk = state.get(_key(model, hour))
        if wanted <= 0 or chunk is None:
            break
        chunks.append(chunk.rows)
        wanted -= len(chunk.rows)
    rows = _rows(b"".join(reversed(chunks)))[-windows_max:]
    values = rows[:, VALUES:PROFILE].astype(np.float64)
    return Past(learned - len(rows), values, rows[:, FLAGS].astype(np.int64))


def reprofile(
    state: State[Any], model: str, hours: list[int], metric: int, profile_at: Callable[[NDArray[np.int64]], Array]
) -> None:
    """Say one metric's past anew, above another profile, which is asked for at the starts of windows in µs."""
    for hour in hours:
        chunk = state.get(_key(model, hour))
        if chunk is None:
            continue
        rows = _rows(chunk.rows).copy()
        starts = hour * HOUR_US + rows[:, MINUTE].astype(np.int64) * MINUTE_US
        anew = profile_at(starts).astype(np.float32)
        rows[:, VALUES + metric] += rows[:, PROFILE + metric] - anew
        rows[:, PROFILE + metric] = anew
        state.put(_key(model, hour), Hour(rows.tobytes()))


def forget(state: State[Any], model: str, hours: list[int]) -> None:
    for hour in hours:
        state.drop(_key(model, hour))


def _rows(packed: bytes) -> Rows:
    return np.frombuffer(packed, dtype=np.float32).reshape(-1, WIDTH)


def _key(model: str, hour: int) -> str:
    return f"history/{model}/{hour}"
