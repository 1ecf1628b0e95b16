"""How well a watched system's faults are found and named: `python -m detectors.targets DIR [--set services|shop]`.

DIR holds `services/` and `shop/` (`detectors/systems.py`); the rules are in `detectors/judge_targets.py`, and which
faults show in the metrics at all is decided with the label in hand by `detectors/shows.py`. One configuration for both
sets, no look-ahead: the services are one stream from its first row; the watch of the shop learns its normal days and
meets each issue from there.

A naive baseline is in the same table: for each series the distance from the median of the last 60 rows, in the larger
of 1.4826 MAD, half a standard deviation, 1 % of that median and the metric's floor; a row is as anomalous as its
greatest z, and entities rank by theirs.

`--sensitivity` halves and doubles each parameter, all else as shipped (half an hour).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detectors.base import SIGMAS_MAX, sigmas_between
from detectors.judge_targets import Judged, judge_services, judge_shop
from detectors.localise import Call, LocaliseParams, clues_of, localise
from detectors.multimetric import Assessment, Series, Watch, WatchParams, WatchState
from detectors.robust import SortedWindow, sigma_robust
from detectors.shows import shows
from detectors.systems import METRICS, Fault, Row, Services, Shop, services, shop

NAIVE_ROWS, NAIVE_READY, NAIVE_FLOOR_RELATIVE = 60, 10, 0.01
THRESHOLDS = {
    "naive": [float(t) for t in np.geomspace(3.0, SIGMAS_MAX, 120)],
    "watch": [float(t) for t in np.arange(0.5, 12.0, 0.1)],
}


def watched(assessment: Assessment, calls: Iterable[Call], params: LocaliseParams) -> Judged:
    """What the watch says of a row."""
    clues = clues_of(assessment.evidence)

    def symptom(entity: str, role: str) -> float:
        return max((c.strength for c in clues if c.entity == entity and c.role == role), default=0.0)

    def ranking(at: str | None) -> list[str]:
        return [suspect.entity for suspect in localise(clues, calls, at, params)]

    return Judged(assessment.time_us, assessment.system, symptom, ranking)


class Naive:
    """Greatest robust z over the last 60 rows, whatever the metric; the same floors as the watch."""

    def __init__(self) -> None:
        self._windows: dict[Series, SortedWindow] = {}
        self._metrics = {metric.name: metric for metric in METRICS}

    def step(self, time_us: int, row: Row) -> Judged:
        """Judge a row, then learn it."""
        by_role: dict[tuple[str, str], float] = {}
        entities: dict[str, float] = {}
        for series, value in row.items():
            x = (value[0] / value[1] if value[1] else None) if isinstance(value, tuple) else value
            if x is not None:
                z, key = self._z(series, x), (series.entity, self._metrics[series.metric].role)
                entities[series.entity] = max(entities.get(series.entity, 0.0), z)
                by_role[key] = max(by_role.get(key, 0.0), z)
        ranked = sorted(entities, key=lambda name: (-entities[name], name))
        system = max(entities.values(), default=0.0)
        return Judged(time_us, system, lambda e, r: by_role.get((e, r), 0.0), lambda _: ranked)

    def _z(self, series: Series, x: float) -> float:
        window, z = self._windows.setdefault(series, SortedWindow(NAIVE_ROWS, [])), 0.0
        if len(window) >= NAIVE_READY:
            middle, floor = window.median(), self._metrics[series.metric].floor
            sigma = max(sigma_robust(window.values), floor, NAIVE_FLOOR_RELATIVE * abs(middle))
            z = abs(sigmas_between(x, middle, sigma))
        window.push(x)
        return z


Issues = list[tuple[Fault, list[Judged]]]


def watch_services(data: Services, params: WatchParams, where: LocaliseParams) -> list[Judged]:
    """The watch over the stream."""
    watch = Watch(params)
    return [watched(watch.step(t, row), data.stream.calls, where) for t, row in _shown(data.stream.rows, "services")]


def watch_shop(data: Shop, params: WatchParams, where: LocaliseParams) -> Issues:
    """The watch over each issue, from what it learnt on the normal days, which is a long pause ago."""
    watch = Watch(params)
    for time_us, row in _shown(data.normal, "shop"):
        watch.step(time_us, row)
    learnt = msgspec.json.encode(msgspec.structs.replace(watch.state, time_us=0))
    found = []
    for fault, stream in data.issues:
        again = Watch(params, msgspec.json.decode(learnt, type=WatchState))
        found.append((fault, [watched(again.step(t, row), stream.calls, where) for t, row in stream.rows]))
    return found


def naive_shop(data: Shop) -> Issues:
    """The baseline over each issue, from the last 60 normal rows."""
    found = []
    for fault, stream in data.issues:
        naive = Naive()
        for time_us, row in data.normal[-NAIVE_ROWS:]:
            naive.step(time_us, row)
        found.append((fault, [naive.step(t, row) for t, row in stream.rows]))
    return found


def _shown(rows: list[tuple[int, Row]], what: str) -> Iterable[tuple[int, Row]]:
    return track(rows, description=what, transient=True)


def configured(changes: dict[str, float]) -> tuple[WatchParams, LocaliseParams]:
    """The shipped parameters with `changes`, named "watch.x", "witness.x", "tail.x" or "localise.x"."""
    watch, where = WatchParams(metrics=METRICS), LocaliseParams()
    witness, tail = watch.witness, watch.witness.tail
    groups: dict[str, Any] = {"watch": watch, "witness": witness, "tail": tail, "localise": where}
    for name, value in changes.items():
        group, field = name.split(".")
        groups[group] = msgspec.structs.replace(groups[group], **{field: value})
    witness = msgspec.structs.replace(groups["witness"], tail=groups["tail"])
    return msgspec.structs.replace(groups["watch"], witness=witness), groups["localise"]


VARIED = (
    *(f"witness.{name}" for name in ("level_rows", "spread_rows", "ready_after", "winsor", "floor_relative")),
    *(f"tail.{name}" for name in ("block_rows", "blocks_max", "spared", "spared_fraction", "alpha")),
    *(f"localise.{name}" for name in ("heard_from", "sure_at", "load_weight")),
    "watch.heard_from",
)


def variations() -> Iterator[tuple[str, dict[str, float]]]:
    """Each parameter halved and doubled."""
    watch, where = configured({})
    groups = {"watch": watch, "witness": watch.witness, "tail": watch.witness.tail, "localise": where}
    for name in VARIED:
        group, field = name.split(".")
        shipped = getattr(groups[group], field)
        for factor in (0.5, 2.0):
            value = type(shipped)(shipped * factor)
            yield f"{name} {shipped:g} -> {value:g}", {name: value}


def services_cells(result: dict[str, Any]) -> list[str]:
    """Cells of a row of the table of services."""
    found = result["hit"]
    rate = result["false_episodes"] / result["quiet_hours"]
    delay = "-" if found == 0 else f"{result['delay_min_median']:.1f} ({result['delay_min_max']:.1f})"
    return [
        " / ".join(f"{t:.3g}" for t in result["thresholds"]),
        f"{found} of {result['faults']}",
        f"{result['shown_hit']} of {result['shown']}",
        f"{rate:.2f}",
        delay,
        f"{result['named_at_once']} of {found}",
        f"{result['named_by_end']} of {found}",
    ]


def shop_cells(result: dict[str, Any]) -> list[str]:
    """Cells of a row of the table of the shop."""
    names = ("first_symptom", "first3_symptom", "first_everywhere", "first3_everywhere")
    return [f"{result[name]} of {result['issues']}" for name in names]


SERVICES_COLUMNS = ("thresholds", "found", "of those that show", "false / h", "delay, min (max)", "named", "by the end")
SHOP_COLUMNS = ("first", "first 3", "without symptom: first", "first 3")


def judge_services_with(data: Services, changes: dict[str, float], shown: dict[str, bool]) -> dict[str, Any]:
    """The watch on the services, with `changes`."""
    return judge_services(watch_services(data, *configured(changes)), data, THRESHOLDS["watch"], shown)


def report_services(directory: Path, sensitivity: bool, console: Console) -> dict[str, Any]:
    """Judge the services and print their tables; everything that was measured, by method."""
    data = services(directory)
    shown, naive = shows(data), Naive()
    results = {
        "watch": judge_services_with(data, {}, shown),
        "naive": judge_services([naive.step(t, r) for t, r in data.stream.rows], data, THRESHOLDS["naive"], shown),
    }
    console.print(table("services", SERVICES_COLUMNS, services_cells, results))
    console.print(kinds_table(results))
    if sensitivity:
        varied = {label: judge_services_with(data, changes, shown) for label, changes in variations()}
        console.print(table("services", SERVICES_COLUMNS, services_cells, varied))
        results.update(varied)
    return results


def report_shop(directory: Path, sensitivity: bool, console: Console) -> dict[str, Any]:
    """Judge the shop and print its tables; everything that was measured, by method."""
    data = shop(directory)
    results = {"watch": judge_shop(watch_shop(data, *configured({}))), "naive": judge_shop(naive_shop(data))}
    console.print(table("shop", SHOP_COLUMNS, shop_cells, results))
    if sensitivity:
        varied = {label: judge_shop(watch_shop(data, *configured(changes))) for label, changes in variations()}
        console.print(table("shop", SHOP_COLUMNS, shop_cells, varied))
        results.update(varied)
    return results


def table(
    title: str, columns: Sequence[str], cells: Callable[[dict[str, Any]], list[str]], results: dict[str, Any]
) -> Table:
    """One row a method or variation."""
    shown = Table(title, *columns)
    for name, result in results.items():
        shown.add_row(name, *cells(result))
    return shown


def kinds_table(results: dict[str, Any]) -> Table:
    """Recall by kind of fault and method."""
    kinds = list(results["watch"]["by_kind"])
    table = Table("services: found", *kinds)
    for name, result in results.items():
        table.add_row(name, *("{} of {}".format(*result["by_kind"][kind]) for kind in kinds))
    return table


REPORTS = {"services": report_services, "shop": report_shop}


def main(
    directory: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder with services/ and shop/")],
    which: Annotated[list[str] | None, typer.Option("--set", help="services or shop; default: both")] = None,
    sensitivity: Annotated[bool, typer.Option(help="also halve and double each parameter")] = False,
    output: Annotated[Path | None, typer.Option(help="write everything as JSON")] = None,
) -> None:
    """Judge detection and naming on the labelled systems, beside the naive baseline."""
    console, report = Console(), {}
    for name in which or REPORTS:
        if name not in REPORTS:
            raise typer.BadParameter(f"--set {name}: choose one of {', '.join(REPORTS)}")
        report[name] = REPORTS[name](directory, sensitivity, console)
    if output is not None:
        output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    typer.run(main)
