"""What `detectors/drift.py` finds, and what for nothing, in made-up series: `python -m detectors.drift_evaluate`.

28 days of minutes: 200 with a daily wave of ±40 and noise of σ = 10, white or autoregressive (.8), and the latter with
weekends of 70 %. In the third week one thing changes for good, or nothing does. Each series is run once through the
ensemble; each feed then goes through ADWIN, with one window for all days and with one for each weekday. Told is how
many drifts there were where nothing changes, and the median of the rows until the first after a change.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from detectors.drift import DriftParams, Drifts, drifts_of
from detectors.series import SeriesDetector, weights_of
from topics.fields import MINUTE_US

PER_DAY = 1_440
ROWS, CHANGED_AT = 28 * PER_DAY, 14 * PER_DAY + 517
SIGMA, WAVE, LEVEL, WEEKEND = 10.0, 40.0, 200.0, 0.7
CHANGES = ("none", "level 1 σ", "level 2 σ", "spread × 1.5", "rhythm 3 h")
NOISES = ("white", "autoregressive", "with weekends")
CYCLES = {"one": 1, "a weekday": 7}

Floats = NDArray[np.float64]


class Feed(NamedTuple):
    """What ADWIN is fed, with the values of δ that are tried."""

    name: str
    deltas: Sequence[float]


FEEDS = (
    Feed("mean evidence", (1e-4, 1e-6)),
    Feed("deviation / 3 σ", (1e-4, 1e-8)),
    Feed("loudest over 0.5, as 0 or 1", (1e-4, 1e-8)),
    Feed("loudest voice", (1e-6, 1e-8, 1e-10)),
)


class Told(NamedTuple):
    """Of one series: drifts before the change (all where there is none), and rows from it to the first after."""

    false: int
    rows: int | None


def made_up(change: str, noise: str, seed: int) -> Floats:
    """One series; see the file's head."""
    rng, at = np.random.default_rng(seed), np.arange(ROWS)
    after = at >= CHANGED_AT
    unit = rng.standard_normal(ROWS)
    if noise != "white":
        unit = _autoregressive(unit, 0.8)
    shift = np.where(after & (change == "rhythm 3 h"), PER_DAY // 8, 0)
    base = LEVEL + WAVE * np.sin(2.0 * np.pi * (at - shift) / PER_DAY)
    if noise == "with weekends":
        base = base * np.where(at // PER_DAY % 7 >= 5, WEEKEND, 1.0)
    wider = np.where(after & (change == "spread × 1.5"), 1.5, 1.0)
    higher = {"level 1 σ": 1.0, "level 2 σ": 2.0}.get(change, 0.0)
    return np.asarray(base + SIGMA * (wider * unit + higher * after), dtype=np.float64)


def _autoregressive(noise: Floats, share: float) -> Floats:
    """x_t = share · x_{t-1} + noise, of the same variance as the noise."""
    rest, value, out = math.sqrt(1.0 - share * share), 0.0, np.empty_like(noise)
    for row, one in enumerate(noise.tolist()):
        value = share * value + rest * one
        out[row] = value
    return out


def feeds_of(values: Floats) -> dict[str, Floats]:
    """Each feed's value of each row, by the name of the feed."""
    detector, said = SeriesDetector(), {feed.name: np.zeros(len(values)) for feed in FEEDS}
    for row, value in enumerate(values.tolist()):
        verdict, _ = detector.judge(row * MINUTE_US, value)
        loudest = detector.loudest or 0.0
        weights = weights_of(detector.members)
        mean = float(np.dot(weights, list(detector.voices.values()))) / sum(weights)
        for name, one in zip(said, (mean, abs(verdict.sigmas) / 3.0, float(loudest > 0.5), loudest), strict=True):
            said[name][row] = one
    return said


def told(strengths: Floats, params: DriftParams, change: str) -> Told:
    rows = [d.row for d in drifts_of(((i * MINUTE_US, s) for i, s in enumerate(strengths.tolist())), Drifts(params))]
    after = [row - CHANGED_AT for row in rows if row >= CHANGED_AT]
    if change == "none":
        return Told(len(rows), None)
    return Told(len(rows) - len(after), min(after, default=None))


def table(found: dict[tuple[str, str], list[dict[str, Floats]]]) -> Iterator[str]:
    """Markdown. `found`: by change and noise the feeds of each seed's series."""
    yield "| fed | windows | δ | false a month: " + " / ".join(NOISES) + " | " + " | ".join(CHANGES[1:]) + " |"
    yield "|" + " --- |" * (4 + len(CHANGES) - 1)
    for feed in FEEDS:
        for windows, days in CYCLES.items():
            for delta in feed.deltas:
                params = DriftParams(delta=delta, cycle_days=days)
                cells = {key: [told(each[feed.name], params, key[0]) for each in some] for key, some in found.items()}
                false = " / ".join(f"{np.mean([t.false for t in cells['none', noise]]):.1f}" for noise in NOISES)
                own = " **as shipped**" if feed == FEEDS[-1] and params == DriftParams() else ""
                changes = (" / ".join(_rows(cells[change, noise]) for noise in NOISES) for change in CHANGES[1:])
                yield f"| {feed.name}{own} | {windows} | {delta:.0e} | {false} | " + " | ".join(changes) + " |"


def _rows(found: Sequence[Told]) -> str:
    """The median of the rows to the first drift, as if never were the longest; how many had none."""
    known = [one.rows for one in found if one.rows is not None]
    return "–" if 2 * len(known) <= len(found) else f"{median([*known, *[ROWS] * (len(found) - len(known))]):.0f}"


def main(
    seeds: Annotated[int, typer.Option(min=1, help="series of each sort")] = 3,
    first: Annotated[int, typer.Option(min=1, help="the first seed")] = 1,
) -> None:
    """The table "Drift" of docs/detection.md: half a minute of processor time a sort and seed."""
    sorts = [(change, noise) for change in CHANGES for noise in NOISES]
    found = {sort: [feeds_of(made_up(*sort, seed)) for seed in range(first, first + seeds)] for sort in track(sorts)}
    typer.echo("\n".join(table(found)))


if __name__ == "__main__":
    typer.run(main)
