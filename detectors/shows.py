"""Which labelled faults show in the metrics at all? A generous test that knows the label, the times and the future.

For each series of the fault's target, of calls from or to it, and of errors anywhere:

    r = distance of the fault's second most distant row / distance of the most distant clean row near it

both from the median of the clean rows near it, those within `NEAR_US` on either side that are outside every fault and
outage and more than two rows after one. Distances below what can matter (`Metric.floor`, 1 % of the median, the rate of
errors that is always tolerated) count as that much. r is also computed for rows of the quiet hours, as if the fault had
begun there, with near rows at the same offsets; in units of their 90 % quantile, series by series, the greatest r is
the statistic. The fault shows when at most `ALPHA` of the quiet rows reach its statistic: its target then did what it
otherwise hardly does. It is generous: one in ten faults without any effect would show.

A permutation test: Good, *Permutation, Parametric and Bootstrap Tests of Hypotheses*, Springer 2005, chapter 3.
"""

import numpy as np
import numpy.typing as npt

from detectors.counts import RateParams
from detectors.judge_targets import quiet_rows
from detectors.multimetric import Series, Value
from detectors.systems import METRICS, MINUTE_US, Services

SETTLING_US = 2 * MINUTE_US
NEAR_US = 30 * MINUTE_US
FLOOR_RELATIVE = 0.01
ALPHA = 0.1
STRIDE = 3  # of the quiet rows, as neighbouring ones say the same

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def shows(data: Services) -> dict[str, bool]:
    """For each fault, by name, whether it shows."""
    times = np.array([time_us for time_us, _ in data.stream.rows])
    spans = [(f.start_us, f.end_us) for f in data.faults] + data.ignored
    clean = ~np.any([(times >= start) & (times <= end + SETTLING_US) for start, end in spans], axis=0)
    series = sorted({s for _, row in data.stream.rows for s in row})
    columns = np.array([[_number(row.get(s)) for s in series] for _, row in data.stream.rows], dtype=float)
    floors = np.array([_floor(s) for s in series])
    found = {}
    for fault in data.faults:
        of = [j for j, s in enumerate(series) if fault.target in (s.entity, s.caller) or s.metric == "errors"]
        inside = np.flatnonzero((times >= fault.start_us) & (times <= fault.end_us))
        near = np.flatnonzero(clean & (np.abs(times - fault.start_us) <= NEAR_US))
        starts = _starts(np.array(quiet_rows(data)), times, np.concatenate([inside, near]) - inside[0])
        found[fault.name] = _rarity(columns[:, of], floors[of], inside, near, starts) <= ALPHA
    return found


def _rarity(columns: Floats, floors: Floats, inside: Rows, near: Rows, starts: Rows) -> float:
    """The share of quiet rows whose statistic is at least the fault's, itself included."""
    ratios = np.array(
        [_ratios(columns[inside - inside[0] + i], columns[near - inside[0] + i], floors) for i in [inside[0], *starts]]
    )
    scale = np.quantile(ratios[1:], 0.9, axis=0)
    statistics = (ratios / np.where(scale > 0.0, scale, 1.0)).max(axis=1)
    return float(np.mean(statistics >= statistics[0]))


def _starts(quiet: Rows, times: Rows, offsets: Rows) -> Rows:
    """Quiet rows with all `offsets` in their own day, quiet or not at most by the reach of the fault's near rows."""
    low, high = int(offsets.min()), int(offsets.max())
    whole = [i for i in quiet[::STRIDE] if i + low >= quiet[0] and i + high < len(times)]
    return np.array([i for i in whole if times[i + high] - times[i + low] <= (high - low + 2) * MINUTE_US])


def _ratios(inside: Floats, near: Floats, floors: Floats) -> Floats:
    """r of each series; both arguments are rows by series."""
    with np.errstate(all="ignore"):
        middle = np.nan_to_num(np.nanmedian(near, axis=0))
        farthest = np.nan_to_num(np.nanmax(np.abs(near - middle), axis=0))
    second = np.sort(np.nan_to_num(np.abs(inside - middle)), axis=0)[-2]
    floor = np.maximum(np.maximum(farthest, floors), FLOOR_RELATIVE * np.abs(middle))
    ratios: Floats = second / np.where(floor > 0.0, floor, 1.0)
    return ratios


def _number(value: Value) -> float:
    if isinstance(value, tuple):
        return value[0] / value[1] if value[1] else np.nan
    return np.nan if value is None else value


def _floor(series: Series) -> float:
    metric = next(metric for metric in METRICS if metric.name == series.metric)
    return RateParams().p_min if metric.role == "errors" else metric.floor
