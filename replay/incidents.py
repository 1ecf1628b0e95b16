"""Incidents to inject: the kinds, what a user may write about one, where the default ones lie.

Default lengths are 8 to 22 minutes, of the shortest that 235 incidents of three providers had in 2021-2023 (5th
percentile 11 minutes, 25th 30, median 69): short ones are the harder to catch in time
(Chu et al., An Empirical Characterization of Outages and Incidents in Public Services for LLMs, ICPE 2025).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from replay.event import ReplayError
from replay.readers.lines import numbered
from replay.sources import Source
from topics.fields import MINUTE_US, SECOND_US, Label

INCIDENTS_MAX = 1_000


@dataclass(frozen=True)
class Kind:
    """One kind of incident: what it does, what its strength means, the strength's default and range."""

    name: str
    about: str
    strength_means: str
    strength: float
    strength_min: float
    strength_max: float
    minutes: int  # how long the default one lasts
    minutes_short: int  # and where all five do not fit
    hits_organisation: bool = False

    def says(self, strength: float) -> str:
        """The strength in words: `30 % of the answers fail`, `4 times slower`."""
        share = self.strength_max == 1.0
        return f"{100 * strength:g} % {self.strength_means}" if share else f"{strength:g} {self.strength_means}"


_KINDS = (
    Kind("error_burst", "a model's answers fail", "of the answers fail", 0.3, 0.001, 1.0, 10, 8),
    Kind("latency_spike", "a model answers slowly, at once", "times slower", 4.0, 1.01, 100.0, 11, 8),
    Kind("traffic_drop", "requests for a model stay away", "of the requests stay away", 0.95, 0.001, 1.0, 9, 8),
    Kind("token_surge", "one organisation sends long prompts", "times longer prompts", 10.0, 1.01, 1000.0, 12, 8, True),
    Kind("latency_leak", "a model slows down bit by bit", "times slower at the end", 3.0, 1.01, 100.0, 22, 15),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}


class IncidentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of an incidents file. `start` and `end`: seconds from the recording's start, or an ISO 8601 time in the
    recording's own time. `target`: a model, or an organisation for token_surge; empty: the busiest."""

    start: float | str
    end: float | str
    kind: str
    target: Label = ""
    strength: Annotated[float, msgspec.Meta(gt=0)] | None = None


@dataclass(frozen=True)
class Incident:
    """An incident to inject into [start_us, end_us), microseconds of event time."""

    kind: str
    start_us: int
    end_us: int
    target: str
    strength: float


@dataclass(frozen=True)
class DefaultPlan:
    """The default incidents as specs, and the kinds that found no room."""

    specs: tuple[IncidentSpec, ...]
    left_out: tuple[str, ...]


WARM_UP_US = 40 * MINUTE_US
WARM_UP_US_MIN = 25 * MINUTE_US  # detection needs 20 to 30 windows of history
WARM_UP_SHARE = 0.4
GAP_US = 8 * MINUTE_US
_RANKS = {"latency_spike": 1, "error_burst": 2}  # of the model that is hit; 0 the busiest


def default_incidents(duration_us: int, models: Sequence[str] = ()) -> DefaultPlan:
    """One incident of each kind after a warm-up, with quiet gaps between and after; as many as fit.

    Traffic of 2.5 hours holds all five. Longer traffic has longer gaps; shorter traffic a shorter warm-up and shorter
    incidents, and loses the last kinds. `models`, busiest first: the latency spike goes to the second, the error burst
    to the third.
    """
    warm_up_us = min(WARM_UP_US, max(WARM_UP_US_MIN, int(duration_us * WARM_UP_SHARE)))
    room_us = duration_us - warm_up_us
    minutes = {kind.name: kind.minutes for kind in KINDS.values()}
    if room_us < sum(minutes.values()) * MINUTE_US + len(minutes) * GAP_US:
        minutes = {kind.name: kind.minutes_short for kind in KINDS.values()}
    chosen: list[Kind] = []
    for kind in KINDS.values():
        if room_us >= minutes[kind.name] * MINUTE_US + GAP_US:
            chosen.append(kind)
            room_us -= minutes[kind.name] * MINUTE_US + GAP_US
    gap_us = GAP_US + room_us // max(len(chosen), 1)
    specs, at_us = [], warm_up_us
    for kind in chosen:
        end_us = at_us + minutes[kind.name] * MINUTE_US
        rank = _RANKS.get(kind.name, 0)
        target = models[rank] if 0 < rank < len(models) else ""
        specs.append(IncidentSpec(at_us / SECOND_US, end_us / SECOND_US, kind.name, target))
        at_us = end_us + gap_us
    return DefaultPlan(tuple(specs), tuple(name for name in KINDS if name not in {kind.name for kind in chosen}))


def read_specs(path: Path) -> tuple[IncidentSpec, ...]:
    """The incidents in a file of JSON lines; ReplayError names the line and what is wrong with it."""
    decode = msgspec.json.Decoder(IncidentSpec).decode
    specs: list[IncidentSpec] = []
    for number, line in numbered(path):
        try:
            specs.append(decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ReplayError(
                f'{path}, line {number}: {error}. Expected e.g. {{"start": 3000, "end": 3600, "kind": "error_burst"}}'
            ) from error
        if len(specs) > INCIDENTS_MAX:
            raise ReplayError(f"{path} has more than {INCIDENTS_MAX} incidents")
    return tuple(specs)


def resolve(specs: Sequence[IncidentSpec], source: Source) -> tuple[Incident, ...]:
    """The specs as incidents in the source's event time, in order of start; ReplayError where one cannot be."""
    incidents = [_resolve(spec, f"incident {number} ({spec.kind})", source) for number, spec in enumerate(specs, 1)]
    return tuple(sorted(incidents, key=lambda incident: (incident.start_us, incident.end_us)))


def _resolve(spec: IncidentSpec, what: str, source: Source) -> Incident:
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise ReplayError(f"{what}: no such kind; there are {', '.join(KINDS)}")
    start_us, end_us = (_time_us(value, what, source) for value in (spec.start, spec.end))
    if end_us <= start_us:
        raise ReplayError(f"{what}: its end must be later than its start")
    if not source.start_us <= start_us <= source.end_us:
        minutes = source.duration_us / MINUTE_US
        raise ReplayError(f"{what}: starts outside the recording, which lasts {minutes:.1f} minutes")
    strength = kind.strength if spec.strength is None else spec.strength
    if not kind.strength_min <= strength <= kind.strength_max:
        raise ReplayError(
            f"{what}: strength ({kind.strength_means}) must be from {kind.strength_min:g} to {kind.strength_max:g},"
            f" not {strength:g}"
        )
    return Incident(kind.name, start_us, end_us, _target(spec, kind, what, source), strength)


def _time_us(value: float | str, what: str, source: Source) -> int:
    if not isinstance(value, str):
        return source.start_us + round(value * SECOND_US)
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise ReplayError(f"{what}: {value[:40]!r} is neither seconds nor an ISO 8601 time") from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return round(time.timestamp() * SECOND_US) - source.recorded_start_us + source.start_us


def _target(spec: IncidentSpec, kind: Kind, what: str, source: Source) -> str:
    known, noun = (source.organisations, "organisation") if kind.hits_organisation else (source.models, "model")
    if not known:
        raise ReplayError(f"{what}: the recording has no {noun}")
    if not spec.target:
        return known[0]
    if spec.target not in known:
        raise ReplayError(f"{what}: the recording has no {noun} {spec.target!r}; it has {', '.join(known[:8])} …")
    return spec.target
