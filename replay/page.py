"""The report's page: tiles, a timeline, tables and pictures, in one HTML text without anything from outside."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from statistics import median

from replay.chart import TimeAxis, clock
from replay.collect import Collected
from replay.facts import Facts
from replay.figures import LEFT, RIGHT, Story, model_figure, outcome_figure, timeline, words
from replay.score import AlertLife, CommandLife, IncidentScore, Score, Told
from replay.sources import Source
from topics.fields import MINUTE_US, SECOND_US

FIGURES_MAX = 8
"""Models that get a picture, the busiest first; a recording of many stays readable and below three megabytes."""

ROWS_MAX = 200


def html(known: Facts, source: Source, collected: Collected) -> str:
    """The page."""
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    body = "\n".join([*_head(known, source), *_pictures_and_tables(known, source, collected), *_foot(known)])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Tidegate replay: {escape(known.source)}</title><style>{css}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _head(known: Facts, source: Source) -> Iterable[str]:
    minutes = source.duration_us / MINUTE_US
    yield "<h1>Tidegate replay report</h1>"
    yield (
        f'<p class="lead">{escape(known.source)} ({escape(known.format)}, seed {known.seed}), '
        f"{clock(source.start_us, '%d %B %Y %H:%M')} to {clock(source.end_us, '%H:%M')} UTC, {minutes:.0f} minutes of"
        f" event time, replayed {'through Kafka' if known.run.driver == 'kafka' else 'without Kafka'}.</p>"
    )
    yield '<div class="tiles">' + "".join(_tiles(known, source)) + "</div>"


def _tiles(known: Facts, source: Source) -> Iterable[str]:
    score = known.score
    total = len(score.incidents)
    if total:
        yield _tile(f"{score.detected} of {total}", "incidents detected", "good" if score.detected == total else "")
    delays = [incident.delay_us for incident in score.incidents if incident.delay_us is not None]
    if delays:
        yield _tile(f"{median(delays) / MINUTE_US:.1f} min", "median delay from an incident's start")
    if total:
        yield _tile(f"{len(score.false_alarms)}", "false alarms", "bad" if score.false_alarms else "good")
    else:
        yield _tile(f"{len(score.false_alarms)}", "alerts, no incident injected")
    yield _tile(f"{known.requests:,}", "requests decided")
    rate = known.run.events / max(known.run.wall_s, 1e-9)
    speed = source.duration_us / SECOND_US / max(known.run.wall_s, 1e-9)
    yield _tile(f"{rate:,.0f}/s", f"events processed, {speed:,.0f} times real time")


def _tile(figure: str, about: str, css: str = "") -> str:
    return f'<div class="tile {css}"><b>{escape(figure)}</b><span>{escape(about)}</span></div>'


def _pictures_and_tables(known: Facts, source: Source, collected: Collected) -> Iterable[str]:
    score = known.score
    models = collected.models
    alerts = _every_alert(score)
    ends = [window.end_us for window in collected.windows.values()]
    story = Story(score.incidents, alerts, max([source.end_us, *ends]))
    time = TimeAxis(source.start_us, source.end_us, LEFT, RIGHT)
    yield "<h2>What happened</h2>"
    yield _legend()
    yield f'<div class="figure">{timeline(story, models[:FIGURES_MAX], time)}</div>'
    yield from _incident_section(known)
    yield from _told_section(score.told)
    if score.incidents:
        yield from _alert_section("False alarms", _FALSE + _of_reality(known), score.false_alarms)
    else:
        yield from _alert_section("Alerts", "Nothing was injected." + _of_reality(known), score.false_alarms)
    if score.related:
        yield from _alert_section("In the wake of an incident", _RELATED, score.related)
    if score.after_end:
        yield from _alert_section("After the recording's end", _AFTER, score.after_end)
    yield from _decision_section(known)
    yield f'<div class="figure">{outcome_figure(collected, story, time)}</div>'
    yield "<h2>Windows by model</h2>"
    if len(models) > FIGURES_MAX:
        yield f'<p class="note">The {FIGURES_MAX} busiest of {len(models)} models.</p>'
    for model in models[:FIGURES_MAX]:
        yield f'<div class="figure"><h3>{escape(model)}</h3>{model_figure(model, collected, story, time)}</div>'


def _of_reality(known: Facts) -> str:
    """An alert about recorded traffic may be right; of our own synthesis it is known that nothing is wrong."""
    return "" if known.format == "synthesis" else " In recorded traffic some may be right: look at the windows below."


_FALSE = "Alerts that opened while no injected incident of their model was running, nor five minutes after one."
_RELATED = "Alerts within five minutes after an incident of their model: recovery noticed, counted neither way."
_AFTER = "Alerts that opened after the last request, when the recording stops: not counted."


def _every_alert(score: Score) -> list[AlertLife]:
    found = {alert.alert: alert for incident in score.incidents for alert in incident.alerts}
    rest = [*score.false_alarms, *score.related, *score.after_end]
    return sorted([*found.values(), *rest], key=lambda alert: alert.opened_us)


_LEGEND = (
    ('<rect width="20" height="11" class="shade" style="opacity:.5"/>', "injected incident"),
    ('<rect width="20" height="11" rx="2" class="alert info"/>', "alert: info"),
    ('<rect width="20" height="11" rx="2" class="alert warning"/>', "warning"),
    ('<rect width="20" height="11" rx="2" class="alert critical"/>', "critical"),
    ('<path class="command issued" d="M10 1l5 5l-5 5l-5 -5z"/>', "command issued"),
    ('<path class="command pending_approval" d="M10 1l5 5l-5 5l-5 -5z"/>', "waits for approval"),
    ('<path class="command" d="M10 1l5 5l-5 5l-5 -5z"/>', "reversed, rejected or expired"),
)


def _legend() -> str:
    keys = "".join(f'<span><svg viewBox="0 0 22 12">{drawn}</svg>{about}</span>' for drawn, about in _LEGEND)
    return f'<div class="legend">{keys}</div>'


def _incident_section(known: Facts) -> Iterable[str]:
    yield "<h2>Injected incidents</h2>"
    if known.run.incidents_left_out:
        left_out = ", ".join(words(kind) for kind in known.run.incidents_left_out)
        yield f'<p class="note">The recording was too short for: {left_out}.</p>'
    if not known.score.incidents:
        yield "<p>None was injected: every alert of this run is about the traffic itself.</p>"
        return
    heads = ("Incident", "Injected (UTC)", "Detected", "By", "Command and answer")
    yield _table(heads, [_incident_row(incident) for incident in known.score.incidents], "incidents")


def _incident_row(incident: IncidentScore) -> Sequence[str]:
    minutes = (incident.end_us - incident.start_us) / MINUTE_US
    what = (
        f"<b>{escape(words(incident.kind))}</b><small>{escape(incident.target)}</small>"
        f"<small>{escape(incident.says)}; {incident.events_touched:,} events</small>"
    )
    span = f"{clock(incident.start_us)}–{clock(incident.end_us)}<small>{minutes:.0f} min</small>"
    if incident.delay_us is None:
        return (what, span, '<span class="badge missed">missed</span>', "–", "–")
    first = incident.alerts[0]
    delay = f"{incident.delay_us / MINUTE_US:.1f} min"
    found = f'<span class="badge found">{delay}</span><small>{clock(first.opened_us, "%H:%M:%S")}</small>'
    return (what, span, found, _items(map(_alert_words, incident.alerts)), _commands(incident.commands))


def _alert_words(alert: AlertLife) -> str:
    return (
        f'<span class="badge {alert.severity}">{escape(words(alert.kind))}</span> {escape(alert.summary)}'
        f"<small>{escape(_confirmations(alert))}</small>"
        f"<small>alert {escape(alert.alert)} on {escape(alert.model)}</small>"
    )


def _confirmations(alert: AlertLife) -> str:
    """Which detectors confirmed it in which metric: `error rate: arima, counts; requests: pelt`."""
    by_metric: dict[str, list[str]] = {}
    for confirmation in alert.confirmations:
        metric, _, detector = confirmation.partition("/")
        by_metric.setdefault(words(metric), []).append(words(detector))
    return "; ".join(f"{metric}: {', '.join(detectors)}" for metric, detectors in by_metric.items())


def _commands(commands: Sequence[CommandLife]) -> str:
    return _items(map(_command_words, commands)) if commands else "none"


def _command_words(command: CommandLife) -> str:
    states = ", ".join(f"{words(state)} {clock(time_us)}" for state, time_us in command.states)
    answers = "".join(
        f"<small>{escape(answer.by)}: {escape(words(answer.what))} {escape(answer.detail)}</small>"
        for answer in command.answers
    )
    unanswered = "" if answers else "<small>no answer</small>"
    return f"<b>{escape(words(command.action))}</b> {escape(command.target)}: {states}{answers}{unanswered}"


def _told_section(told: Sequence[Told]) -> Iterable[str]:
    yield '<h2>Incidents told</h2><p class="note">Alerts of one cause as one incident, with that cause.</p>'
    rows = [(_told_span(one), _told_words(one)) for one in told[:ROWS_MAX]]
    yield _table(("Open (UTC)", "Incident"), rows) if rows else "<p>None.</p>"


def _told_span(one: Told) -> str:
    ended = "open at the end" if one.ended_us is None else clock(one.ended_us)
    back = f"<small>came back {one.reopened} times</small>" if one.reopened else ""
    return f"{clock(one.opened_us)}–{ended}{back}"


def _told_words(one: Told) -> str:
    taken_back = ", taken back" if one.status == "withdrawn" else ""
    return (
        f'<span class="badge {one.severity}">{one.severity}</span> {escape(one.title)}'
        f"<small>{escape(one.cause.explanation)}</small>"
        f"<small>incident {escape(one.incident)}{taken_back}: alerts {escape(', '.join(one.alerts))}</small>"
    )


def _alert_section(title: str, about: str, alerts: Sequence[AlertLife]) -> Iterable[str]:
    yield f'<h2>{title}</h2><p class="note">{about}</p>'
    if not alerts:
        yield "<p>None.</p>"
        return
    rows = [(_alert_span(alert), _alert_words(alert), _commands(alert.commands)) for alert in alerts[:ROWS_MAX]]
    yield _table(("Open (UTC)", "Alert", "Command and answer"), rows)
    if len(alerts) > ROWS_MAX:
        yield f'<p class="note">{len(alerts) - ROWS_MAX} more are in report.json.</p>'


def _alert_span(alert: AlertLife) -> str:
    ended = "open at the end" if alert.resolved_us is None else clock(alert.resolved_us)
    return f"{clock(alert.opened_us)}–{ended}{_standing(alert)}"


def _standing(alert: AlertLife) -> str:
    """What became of a provisional alert."""
    if alert.withdrawn:
        return ", withdrawn"
    if alert.confirmed_us is not None:
        return f", provisional until {clock(alert.confirmed_us)}"
    return ", provisional" if alert.provisional else ""


def _decision_section(known: Facts) -> Iterable[str]:
    yield "<h2>Decisions</h2>"
    total = max(known.requests, 1)
    rows = [
        (escape(outcome), f"{count:,}", f"{100 * count / total:.2f} %")
        for outcome, count in sorted(known.outcomes.items(), key=lambda item: -item[1])
    ]
    yield _table(("Outcome", "Requests", "Share"), rows)
    counts = (
        ("flagged", known.flagged),
        ("anomalies by detector", known.anomalies),
        ("dead letters", known.dead_letters),
    )
    for name, counter in counts:
        if counter:
            listed = ", ".join(f"{escape(words(key))} {count:,}" for key, count in sorted(counter.items()))
            yield f'<p class="note">{name}: {listed}</p>'


def _foot(known: Facts) -> Iterable[str]:
    yield "<h2>What is real, what is modelled</h2>"
    if known.format == "synthesis":
        yield "<p>All of this traffic is synthetic; its statistics come from published traces of real services.</p>"
    rows = [(escape(what), "real", escape(whence)) for what, whence in known.real]
    rows += [(escape(what), "modelled", escape(whence)) for what, whence in known.modelled]
    if known.score.incidents:
        rows.append(("incidents", "injected", f"seed {known.seed}; the table above lists them"))
    yield _table(("What", "Is", "From"), rows)
    yield (
        '<p class="note">A recording does not react. A request that is throttled here has its answer all the same (and'
        " is charged for it), and a shift of traffic does not make later answers faster.</p>"
    )
    yield "<h2>The run</h2>"
    run = known.run
    run_rows = [
        ("driver", f"{run.driver}, {run.partitions} traffic partitions"),
        ("events in", f"{run.events:,} in {run.wall_s:.1f} s"),
        ("records out", ", ".join(f"{escape(alias)} {count:,}" for alias, count in sorted(known.outputs.items()))),
        ("versions", ", ".join(f"{escape(name)} {escape(version)}" for name, version in run.versions.items())),
    ]
    if known.records_dropped_by_limits:
        run_rows.append(("left out of this report", f"{known.records_dropped_by_limits:,} records beyond its limits"))
    yield _table(("", ""), run_rows)


def _items(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], css: str = "") -> str:
    head = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
