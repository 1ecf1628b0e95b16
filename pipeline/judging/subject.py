"""What is known of one model, one of its windows with it, and what was found in that window."""

from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.counts import RateState
from detectors.rows import Array
from pipeline.judging.findings import Finding
from pipeline.judging.history import Past
from pipeline.judging.limits import Errors, Piled
from pipeline.judging.metrics import FORECAST, INDEX
from pipeline.judging.track import Track
from topics.records import Forecast, MetricWindow

COLUMNS = np.array([INDEX[measure.metric] for measure in FORECAST])


class Filter(Struct, tag="filter"):
    """What has been learnt of one model, but for its history. `hours`, `days`: the keys of what is kept of it;
    `slot`: the five minutes, counted from the epoch, that are not over yet. `due`: which of FORECAST are to be learnt
    anew before the next window."""

    tracks: dict[str, Track]
    rate: RateState
    learned: int = 0
    opened: bool = False  # the first window, which may be partial, has passed
    last_start_us: int = -1
    hours: list[int] = []
    days: list[int] = []
    slot: int = -1
    piled: Piled = Piled()
    due: list[int] = []


class Subject(NamedTuple):
    """One window to be judged, and all that is known of its model."""

    window: MetricWindow
    model: Filter
    past: Past
    actual: list[float | None]  # of FORECAST


class Found(Struct):
    """What detection has to say of one window; `by_metric` are those findings that are about one metric. `suppressed`:
    it lies in a maintenance, which teaches nothing of what is usual."""

    findings: list[Finding] = []
    by_metric: dict[str, list[Finding]] = {}
    breaks: list[str] = []
    forecasts: list[Forecast] = []
    errors: Errors | None = None
    suppressed: bool = False


def rows_of(past: Past, model: Filter, windows: int) -> tuple[Array, NDArray[np.bool_]]:
    """[FORECAST, windows] with the newest last, NaN before a metric's history counts; and what was anomalous in it."""
    missing = windows - len(past.flags)
    values = np.full((len(FORECAST), windows), np.nan)
    values[:, missing:] = past.values.T[COLUMNS]
    for row, measure in enumerate(FORECAST):
        if (begin := model.tracks[measure.metric].since - past.first) > 0:
            values[row, missing : missing + begin] = np.nan
    flagged = np.zeros((len(FORECAST), windows), dtype=bool)
    flagged[:, missing:] = past.flags >> COLUMNS[:, None] & 1
    return values, flagged
