"""The report's pictures: one timeline over all models, and each model's windows with what happened around them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from replay.chart import (
    Points,
    TimeAxis,
    box,
    clock,
    diamond,
    line,
    rule,
    short,
    svg,
    text,
    value_axis,
    width_of,
)
from replay.collect import Collected
from replay.score import AlertLife, CommandLife, IncidentScore
from topics.fields import MINUTE_US
from topics.records import MetricWindow

WIDTH = 1080
LEFT = 74
RIGHT = WIDTH - 12
PANEL = 92
GAP = 26
LANE = 20


class Story(NamedTuple):
    """What is drawn around the windows."""

    incidents: Sequence[IncidentScore]
    alerts: Sequence[AlertLife]
    end_us: int

    def of(self, model: str) -> "Story":
        """The part that concerns one model."""
        return Story(
            [incident for incident in self.incidents if model in incident.models],
            [alert for alert in self.alerts if alert.model == model],
            self.end_us,
        )


class _Series(NamedTuple):
    name: str
    css: str
    value: Callable[[MetricWindow], float | None]


class _Line(NamedTuple):
    name: str
    css: str
    points: Points


class _Panel(NamedTuple):
    title: str
    series: tuple[_Series, ...]
    logarithmic: bool = False


def _seconds(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1e6


PANELS: tuple[_Panel, ...] = (
    _Panel("requests a minute", (_Series("requests", "a", lambda w: w.requests),)),
    _Panel("tokens a second", (_Series("tokens/s", "a", lambda w: w.tokens_per_s),)),
    _Panel("error rate, %", (_Series("errors", "c", lambda w: 100 * w.error_rate),)),
    _Panel(
        "first token, s (log)",
        (
            _Series("p50", "a", lambda w: _seconds(w.first_token_us_p50)),
            _Series("p99", "b", lambda w: _seconds(w.first_token_us_p99)),
        ),
        logarithmic=True,
    ),
    _Panel(
        "duration, s (log)",
        (
            _Series("p50", "a", lambda w: _seconds(w.duration_us_p50)),
            _Series("p99", "b", lambda w: _seconds(w.duration_us_p99)),
        ),
        logarithmic=True,
    ),
)


def timeline(story: Story, models: Sequence[str], time: TimeAxis) -> str:
    """Injected incidents above, each model's alerts and commands below, on one axis."""
    parts: list[str] = []
    y = 16.0
    parts.append(text(4, y + 13, "injected", "label"))
    parts += [_incident_bar(incident, time, y) for incident in story.incidents]
    y += LANE + 8
    for model in models:
        own = story.of(model)
        rows = _stack(own.alerts, time, story.end_us)
        height = max(len(rows), 1) * LANE
        parts.append(text(4, y + 13, model[:12], "label"))
        parts.append(rule(LEFT, y - 3, RIGHT, y - 3, "grid"))
        for number, row in enumerate(rows):
            parts += [_alert_bar(alert, time, story.end_us, y + number * LANE) for alert in row]
        parts += [mark for alert in own.alerts for mark in _command_marks(alert, time, y + height + 6)]
        y += height + 18
    shades = _shades(story.incidents, time, 10, y)
    return svg(WIDTH, y + 22, [*shades, *parts, *_time_ticks(time, y)], "timeline of incidents, alerts and commands")


def model_figure(model: str, collected: Collected, story: Story, time: TimeAxis) -> str:
    """A model's windows: five panels over one time axis, incidents shaded, alerts as bars, commands as diamonds."""
    windows = [window for window in collected.windows_of(model) if window.start_us < time.end_us]
    own = story.of(model)
    rows = _stack(own.alerts, time, story.end_us)
    top = 8 + max(len(rows), 1) * LANE + 16
    bottom = top + len(PANELS) * (PANEL + GAP) - 6
    parts = _shades(own.incidents, time, 4, bottom)
    parts += [_alert_bar(a, time, story.end_us, 6 + n * LANE) for n, row in enumerate(rows) for a in row]
    parts += [mark for alert in own.alerts for mark in _command_marks(alert, time, top - 10)]
    parts.append(text(4, 19, "alerts", "label"))
    for number, panel in enumerate(PANELS):
        parts += _panel(panel, windows, time, top + number * (PANEL + GAP) + GAP - 8)
    return svg(WIDTH, bottom + 20, [*parts, *_time_ticks(time, bottom)], f"windows of {model}")


def _panel(panel: _Panel, windows: Sequence[MetricWindow], time: TimeAxis, top: float) -> list[str]:
    lines: list[_Line] = [
        _Line(series.name, series.css, [(w.start_us + MINUTE_US // 2, series.value(w)) for w in windows])
        for series in panel.series
    ]
    return _drawn(panel.title, lines, time, top, panel.logarithmic)


def _drawn(title: str, lines: Sequence[_Line], time: TimeAxis, top: float, logarithmic: bool = False) -> list[str]:
    values = [value for each in lines for _, value in each.points if value is not None]
    axis = value_axis(values, top, top + PANEL - 10, logarithmic)
    parts = [text(LEFT, top - 6, title, "title")]
    for value in axis.ticks():
        parts.append(rule(LEFT, axis.y(value), RIGHT, axis.y(value), "grid"))
        parts.append(text(LEFT - 6, axis.y(value) + 4, short(value), "tick", "end"))
    right = RIGHT
    for each in reversed(lines):
        parts.append(line(each.points, time, axis, each.css, each.name))
        if len(lines) > 1:
            parts.append(text(right, top - 6, each.name, f"key {each.css}", "end"))
            right -= round(width_of(each.name)) + 12
    return parts


def outcome_figure(collected: Collected, story: Story, time: TimeAxis) -> str:
    """Requests a minute that were refused or blocked."""
    minutes = sorted(at_us for at_us in collected.outcomes_per_minute if at_us < time.end_us)
    lines = [
        _Line(
            outcome,
            css,
            [(at_us + MINUTE_US // 2, collected.outcomes_per_minute[at_us][outcome]) for at_us in minutes],
        )
        for outcome, css in (("throttled", "c"), ("blocked", "b"))
    ]
    bottom = 24 + PANEL
    parts = _shades(story.incidents, time, 4, bottom) + _drawn("throttled and blocked a minute", lines, time, 26)
    return svg(WIDTH, bottom + 20, [*parts, *_time_ticks(time, bottom)], "requests throttled and blocked a minute")


def _shades(incidents: Sequence[IncidentScore], time: TimeAxis, top: float, bottom: float) -> list[str]:
    return [
        box(
            time.x(incident.start_us),
            top,
            time.x(incident.end_us) - time.x(incident.start_us),
            bottom - top,
            "shade",
            f"injected: {words(incident.kind)} {clock(incident.start_us)}–{clock(incident.end_us)}",
        )
        for incident in incidents
    ]


def _incident_bar(incident: IncidentScore, time: TimeAxis, y: float) -> str:
    left, right = time.x(incident.start_us), time.x(incident.end_us)
    title = (
        f"{words(incident.kind)} of {incident.target}, {clock(incident.start_us)}–{clock(incident.end_us)}"
        f" ({incident.says})"
    )
    css = "incident" if incident.detected else "incident missed"
    name = words(incident.kind) + ("" if incident.detected else ": missed")
    return box(left, y, right - left, LANE - 4, css, title) + text(left + 1, y - 3, name, "small")


def _end_of(alert: AlertLife, end_us: int) -> int:
    return end_us if alert.resolved_us is None else alert.resolved_us


def _alert_bar(alert: AlertLife, time: TimeAxis, end_us: int, y: float) -> str:
    left, right = time.x(alert.opened_us), time.x(_end_of(alert, end_us))
    word = "withdrawn" if alert.withdrawn else "resolved"
    ended = "still open" if alert.resolved_us is None else f"{word} {clock(alert.resolved_us)}"
    title = f"{alert.severity}: {alert.summary} Opened {clock(alert.opened_us)}, {ended}."
    name = words(alert.kind)
    inside = right - left > width_of(name) + 8
    label = text(left + 5 if inside else max(right, left + 6) + 4, y + 12, name, "onbar" if inside else "beside")
    return box(left, y, max(right - left, 6), LANE - 4, f"alert {alert.severity}", title) + label


def _command_marks(alert: AlertLife, time: TimeAxis, y: float) -> list[str]:
    """A diamond for each state of each command; those that would hide another stand beside it."""
    steps = [(time_us, state, command) for command in alert.commands for state, time_us in command.states]
    marks, edge = [], 0.0
    for time_us, state, command in sorted(steps, key=lambda step: step[0]):
        x = max(time.x(time_us), edge)
        edge = x + 11
        marks.append(diamond(x, y, 5, f"command {state}", _command_title(command, state, time_us)))
    return marks


def _command_title(command: CommandLife, state: str, time_us: int) -> str:
    return f"{clock(time_us, '%H:%M:%S')} {words(command.action)} {command.target}: {words(state)}. {command.reason}"


def _stack(alerts: Sequence[AlertLife], time: TimeAxis, end_us: int) -> list[list[AlertLife]]:
    """Alerts in as few rows as leave room for each one's name."""
    rows: list[list[AlertLife]] = []
    edges: list[float] = []
    for alert in alerts:
        left = time.x(alert.opened_us)
        right = max(time.x(_end_of(alert, end_us)), left + 6) + width_of(alert.kind) + 8
        row = next((number for number, edge in enumerate(edges) if edge <= left), len(rows))
        if row == len(rows):
            rows.append([])
            edges.append(0.0)
        rows[row].append(alert)
        edges[row] = right + 2
    return rows


def _time_ticks(time: TimeAxis, bottom: float) -> list[str]:
    parts = [rule(LEFT, bottom, RIGHT, bottom, "axis")]
    for x, label in time.ticks():
        parts.append(rule(x, bottom, x, bottom + 4, "axis"))
        parts.append(text(x, bottom + 17, label, "tick", "middle"))
    return parts


def words(name: str) -> str:
    """A code name for people: underscores become spaces."""
    return name.replace("_", " ")
