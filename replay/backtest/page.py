"""The page of a backtest: figures, what a second configuration changes, close-ups of what went wrong, every series.

One HTML text without anything from outside. Close-ups are SVG and need no script; the zoomable plots are drawn by
`explorer.js`, which lies in the page, from data that lies there too. Its size is bounded, whatever went in.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from replay.backtest import closeup, packed, tables
from replay.backtest.model import Detection, Event, Judgement, Review, Strip
from replay.backtest.result import Result, Run
from replay.backtest.tally import Tally
from replay.backtest.words import delay, percent, rate
from replay.chart import clock
from replay.figures import words

PANELS_MAX = 140
"""Panels plotted: 140 series, or 20 models of seven metrics."""

CLOSE_UPS = {"missed": 24, "false": 24, "hit": 6, "unjudged": 24}
"""How many close-ups of each sort."""

LISTED_TOTAL, LISTED_MIN, LISTED_MAX = 1_500, 10, 60
"""Events and detections listed in words under all plots, each; under one at least and at most."""


T = TypeVar("T")


class Shown(NamedTuple):
    """A strip in its place on the page, with what happened on it."""

    place: int
    strip: Strip
    events: list[Event]
    a: list[Detection]
    b: list[Detection] | None
    drifts: list[Review]


def html(result: Result, judged: Sequence[Judgement]) -> str:
    """The page."""
    here = Path(__file__).parent
    css = (here.parent / "report.css").read_text(encoding="utf-8") + (here / "backtest.css").read_text(encoding="utf-8")
    script = (here / "explorer.js").read_text(encoding="utf-8")
    shown = _shown(result, judged)
    places = {each.strip.name: each.place for each in shown}
    body = "\n".join([*_head(result), *_figures(result, places), *_closeups(judged[0], places), *_plots(result, shown)])
    data = msgspec.json.encode(_data(shown, judged)).decode().replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Tidegate backtest: {escape(_what(result))}</title><style>{css}</style></head>\n"
        f'<body><main>\n{body}\n</main><div id="tip" hidden></div>\n'
        f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script></body></html>\n'
    )


def _shown(result: Result, judged: Sequence[Judgement]) -> list[Shown]:
    """Most wrong first, as many as there is room for."""
    strips = {strip.name: strip for strip in judged[0].strips}
    events = _grouped((name, event) for event in judged[0].events for name in event.strips)
    drifts = _grouped((one.strip, one) for one in judged[0].drifts)
    sides = [_grouped((one.strip, one) for one in found.detections) for found in judged]
    shown, panels = list[Shown](), 0
    for row in result.runs[0].strips:
        strip = strips[row.name]
        panels += len(strip.panels)
        if panels > PANELS_MAX and shown:
            break
        b = sides[1].get(strip.name, []) if len(sides) > 1 else None
        own = (events.get(strip.name, []), sides[0].get(strip.name, []))
        shown.append(Shown(len(shown), strip, *own, b, drifts.get(strip.name, [])))
    return shown


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    grouped: dict[str, list[T]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _what(result: Result) -> str:
    names = [one["name"] for one in result.inputs]
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _head(result: Result) -> Iterable[str]:
    starts = ", ".join(f"{run.name}: {run.config}" for run in result.runs)
    total = result.runs[0].total
    yield "<h1>Tidegate backtest</h1>"
    yield (
        f'<p class="lead">{escape(_what(result))}: {result.rows:,} rows, {total.days:,.1f} days judged of'
        f" {len(result.runs[0].strips):,} models and series, in {result.wall_s:,.1f} s. {escape(starts)}.</p>"
    )
    for note in result.notes[:20]:
        yield f'<p class="note">{escape(note)}</p>'
    yield '<div class="tiles">' + "".join(_tiles(result)) + "</div>"


_Said = Callable[[Tally], str]
_Good = Callable[[Tally], bool] | None

_TILES: tuple[tuple[_Said, str, _Good], ...] = (
    (lambda t: f"{t.found:,} of {t.events:,}", "events found", lambda t: t.found == t.events),
    (lambda t: percent(t.recall), "event recall", None),
    (lambda t: percent(t.precision), "event precision", None),
    (lambda t: f"{t.false_episodes:,}", "false episodes", lambda t: not t.false_episodes),
    (lambda t: rate(t.false_per_day), "false episodes a day of a series", None),
    (lambda t: delay(t.delay_s_median), "median delay from an event's start", None),
    (lambda t: delay(t.delay_s_p90), "delay of nine in ten", None),
)
_TILES_UNLABELLED: tuple[tuple[_Said, str, _Good], ...] = (
    (lambda t: f"{t.detections:,}", "alerts; there are no labels", None),
    (lambda t: rate(t.detections_per_day), "alerts a day of a series", None),
)


def _tiles(result: Result) -> Iterable[str]:
    totals = [run.total for run in result.runs]
    for said, about, good in _TILES if result.labelled else _TILES_UNLABELLED:
        css = "good" if good is not None and good(totals[0]) else ""
        second = f"<small>B: {escape(said(totals[1]))}</small>" if len(totals) > 1 else ""
        yield f'<div class="tile {css}"><b>{escape(said(totals[0]))}</b>{second}<span>{escape(about)}</span></div>'
    yield f'<div class="tile"><b>{result.rows_per_s:,.0f}/s</b><span>rows judged</span></div>'


def _figures(result: Result, places: dict[str, int]) -> Iterable[str]:
    if result.changes is not None:
        yield "<h2>What B changes</h2>"
        yield from tables.changes(result.changes, places)
    kinds = result.runs[0].kinds
    if len(kinds) > 1 or any(row.named for run in result.runs for row in run.kinds):
        yield "<h2>By kind of event</h2>" + tables.kinds(result)
    if any(run.two_fold for run in result.runs):
        yield "<h2>Threshold</h2>" + tables.thresholds(result)
        yield (
            '<p class="note">Two-fold: chosen for the best F1 on one half of the groups of series, scored on the other,'
            " swapped, added up. A threshold that was chosen on what it is scored on says nothing.</p>"
        )
    for run in result.runs:
        yield from _by_detector(run, len(result.runs) > 1)


def _by_detector(run: Run, several: bool) -> Iterable[str]:
    tail = f", {run.name}" if several else ""
    if len(run.detectors) > 1:
        yield f"<h2>By detector{tail}</h2>" + tables.detectors(run)
    if len(run.alert_kinds) > 1:
        yield f"<h2>By kind of alert{tail}</h2>" + tables.alert_kinds(run)


_LEGEND = (
    ('<rect width="20" height="11" y="1" rx="2" class="truth"/>', "event, found"),
    ('<rect width="18" height="10" x="1" y="1" class="truth missed"/>', "event, missed"),
    (f'<path class="mark hit" transform="translate(10 6)" d="{closeup.SHAPES["hit"]}"/>', "alert, right"),
    (f'<path class="mark false" transform="translate(10 6)" d="{closeup.SHAPES["false"]}"/>', "alert, false"),
    (
        f'<path class="mark after" transform="translate(10 6)" d="{closeup.SHAPES["after"]}"/>',
        "just after an event: not counted",
    ),
    (
        f'<path class="mark unjudged" transform="translate(10 6)" d="{closeup.SHAPES["unjudged"]}"/>',
        "alert without truth, or in the warm-up",
    ),
    (
        '<rect width="20" height="11" class="band"/><path class="line a" d="M0 8L7 4L13 7L20 3"/>',
        "value and forecast band",
    ),
    ('<path class="finding" d="M6 12V5M10 12V5M14 12V5"/>', "a detector found it odd"),
    ('<path class="drift" d="M10 0V12"/>', "drift, for review: no longer what it was"),
)


def _legend() -> str:
    keys = "".join(f'<span><svg viewBox="0 0 22 12">{drawn}</svg>{about}</span>' for drawn, about in _LEGEND)
    return f'<div class="legend">{keys}</div>'


def _closeups(found: Judgement, places: dict[str, int]) -> Iterable[str]:
    strips = {strip.name: strip for strip in found.strips}
    events = _grouped((name, event) for event in found.events for name in event.strips)
    detections = _grouped((one.strip, one) for one in found.detections)
    missed = [event for event in found.events if event.delay_us is None and event.strips]
    sorts: list[tuple[str, str, Sequence[Event | Detection]]] = [("missed", "Missed", missed)]
    titles = {"false": "False alarms", "unjudged": "Alerts", "hit": "Found"}
    if any(strip.labelled for strip in found.strips):
        titles["unjudged"] = ""
    sorts += [
        (outcome, title, [one for one in found.detections if one.outcome == outcome])
        for outcome, title in titles.items()
        if title
    ]
    yield "<h2>Close up</h2>" + _legend()
    for sort, title, every in sorts:
        if not every:
            continue
        limit = CLOSE_UPS[sort]
        tail = f", {limit} of {len(every):,}" if len(every) > limit else f", {len(every):,}"
        yield f'<h3>{title}{tail}</h3><div class="cards">'
        for one in _evenly(every, limit):
            strip = one.strips[0] if isinstance(one, Event) else one.strip
            if strip in strips:
                yield _card(sort, one, strips[strip], events.get(strip, []), detections.get(strip, []), places)
        yield "</div>"


def _evenly(every: Sequence[Event | Detection], limit: int) -> Sequence[Event | Detection]:
    """At most `limit`, from all over the recording and not from its beginning only."""
    if len(every) <= limit:
        return every
    return [every[number * len(every) // limit] for number in range(limit)]


def _card(
    sort: str,
    one: Event | Detection,
    strip: Strip,
    events: Sequence[Event],
    detections: Sequence[Detection],
    places: dict[str, int],
) -> str:
    end_us = one.start_us if one.end_us is None else one.end_us
    seen = closeup.view(strip, one.start_us, end_us, one.kind)
    about = f"{one.target} {one.difficulty}" if isinstance(one, Event) else one.summary
    about = f"{seen.panel.label}: {about}" if len(strip.panels) > 1 else about
    when = clock(one.start_us, "%d %b %H:%M")
    link = tables.zoom_link(strip.name, one.start_us, end_us, f"{when} on {strip.name}", places)
    return (
        f'<div class="card {sort}"><b>{escape(words(one.kind))}</b> {link}<p>{escape(about)}</p>'
        f"{closeup.drawn(seen, events, detections)}</div>"
    )


def _plots(result: Result, shown: Sequence[Shown]) -> Iterable[str]:
    run = result.runs[0]
    places = {each.strip.name: each.place for each in shown}
    yield "<h2>Every model and series, most wrong first</h2>"
    yield tables.strips(run, places)
    if len(run.strips) > tables.STRIPS_ROWS_MAX:
        yield f'<p class="note">{len(run.strips) - tables.STRIPS_ROWS_MAX:,} more are in backtest.json.</p>'
    if len(run.strips) > len(shown):
        yield (
            f'<p class="note">Plotted below: the {len(shown):,} most wrong of {len(run.strips):,}; a page has room for'
            f" {PANELS_MAX} panels.</p>"
        )
    yield (
        '<p class="note">Drag over a plot to zoom, double-click to see all; with the keyboard: arrows, + and -, Escape.'
        f" A point of a plot is a row, or, where there are more than {_room(shown).buckets:,} rows, the"
        " lowest and the highest of an equal stretch of time: no peak is lost. Grey is warm-up, not scored.</p>"
        "<noscript><p>The zoomable plots need JavaScript; the tables and close-ups do not.</p></noscript>" + _legend()
    )
    listed_max = max(LISTED_MIN, min(LISTED_MAX, LISTED_TOTAL // max(len(shown), 1)))
    for each in shown:
        yield _plot(each, places, listed_max, _room(shown))


def _room(shown: Sequence[Shown]) -> packed.Room:
    return packed.room_for(sum(len(each.strip.panels) for each in shown), len(shown))


def _plot(each: Shown, places: dict[str, int], listed_max: int, room: packed.Room) -> str:
    missed = sum(event.delay_us is None for event in each.events)
    false = sum(one.episodes for one in each.a if one.outcome == "false")
    badges = "".join(
        f'<span class="badge {css}">{count:,} {word}</span>'
        for count, word, css in (
            (len(each.events) - missed, "found", "hit"),
            (missed, "missed", "missed"),
            (false, "false", "false"),
        )
        if count
    )
    name = escape(each.strip.name)
    label = f"{name}: values, forecast band, events and alerts over time"
    return (
        f'<section class="plot" id="strip-{each.place}" data-strip="{each.place}"><h3>{name} {badges}'
        '<button type="button" hidden>all</button></h3>'
        f'<canvas tabindex="0" role="img" aria-label="{label}"></canvas>'
        f"{_listed(each, places, listed_max)}{_too_many(each, room)}</section>"
    )


def _too_many(each: Shown, room: packed.Room) -> str:
    """What a plot has no room for."""
    counts = (
        ("events", len(each.events), room.detections),
        ("alerts", max(len(each.a), len(each.b or [])), room.detections),
        ("findings of a metric", max(len(panel.marks_us) for panel in each.strip.panels), room.marks),
    )
    cut = [f"{most:,} of {count:,} {what}" for what, count, most in counts if count > most]
    return f'<p class="note">Marked in this plot: the first {" and ".join(cut)}.</p>' if cut else ""


def _listed(each: Shown, places: dict[str, int], listed_max: int) -> str:
    """The events and alerts of a plot in words, each a link into it."""
    rows: list[tuple[int, list[str]]] = []
    for event in each.events[:listed_max]:
        state = "missed" if event.delay_us is None else f"found after {delay(event.delay_us / 1e6)}"
        css = "missed" if event.delay_us is None else "hit"
        rows.append(
            (event.start_us, _listed_row(each, event, f'<span class="badge {css}">event</span>', state, places))
        )
    for side, detections in (("A", each.a), ("B", each.b or [])):
        label = "alert" if each.b is None else f"alert {side}"
        for one in detections[:listed_max]:
            taken_back = ", withdrawn" if one.withdrawn else ""
            badge = f'<span class="badge {one.outcome}">{label}: {one.outcome}{taken_back}</span>'
            rows.append((one.start_us, _listed_row(each, one, badge, one.summary, places)))
    for drift in each.drifts[:listed_max]:
        when = tables.zoom_link(
            each.strip.name, drift.time_us, drift.time_us, clock(drift.time_us, "%d %b %H:%M"), places
        )
        badge = '<span class="badge after">for review</span>'
        rows.append((drift.time_us, [when, badge, "drift", escape(drift.summary)]))
    if not rows:
        return ""
    counts = f"{len(each.events):,} events, {len(each.a):,} alerts" + (
        f", {len(each.b):,} of B" if each.b is not None else ""
    )
    if each.drifts:
        counts += f", {len(each.drifts):,} drift{'' if len(each.drifts) == 1 else 's'} for review"
    cells = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    cut = max(len(each.events), len(each.a), len(each.b or []), len(each.drifts)) > listed_max
    note = f'<p class="note">The first {listed_max} of each; all are in backtest.json.</p>' if cut else ""
    listed = tables.table(("When (UTC)", "", "Kind", ""), cells, left=4)
    return f"<details><summary>{counts}</summary>{listed}{note}</details>"


def _listed_row(each: Shown, one: Event | Detection, badge: str, says: str, places: dict[str, int]) -> list[str]:
    end_us = one.start_us if one.end_us is None else one.end_us
    when = tables.zoom_link(each.strip.name, one.start_us, end_us, clock(one.start_us, "%d %b %H:%M"), places)
    return [when, badge, escape(words(one.kind)), escape(says)]


def _data(shown: Sequence[Shown], judged: Sequence[Judgement]) -> dict[str, object]:
    room = _room(shown)
    found_by_b = {event.id: event.delay_us is not None for event in judged[1].events} if len(judged) > 1 else {}
    return {
        "second": len(judged) > 1,
        "strips": [
            {
                "name": each.strip.name,
                "from": each.strip.start_us / 1e6,
                "to": (each.strip.end_us + each.strip.step_us) / 1e6,
                "judged": each.strip.judged_from_us / 1e6,
                "panels": [packed.packed_panel(panel, each.strip, room) for panel in each.strip.panels],
                "events": [
                    packed.packed_event(event, found_by_b.get(event.id)) for event in each.events[: room.detections]
                ],
                "drifts": [packed.packed_drift(one) for one in each.drifts[: room.detections]],
                "a": [packed.packed_detection(one, each.strip.end_us) for one in each.a[: room.detections]],
                "b": [packed.packed_detection(one, each.strip.end_us) for one in (each.b or [])[: room.detections]],
            }
            for each in shown
        ],
    }
