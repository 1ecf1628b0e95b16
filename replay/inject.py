"""Injection of incidents into a stream of events: a pure transformation, the same again for the same seed.

Which events an incident touches hangs on their ids and the seed alone, not on how many there were before. A request
belongs to an incident that it arrived in, whenever it ends: a slowed answer may come after the incident's end. Errors
belong to the incident in which the answer would have come. Everything else passes unchanged, and order by event time
is kept: answers that are slowed down wait here until their new time.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from replay.event import Event, Events, time_of
from replay.incidents import KINDS, Incident
from replay.latency import DURATION_S_MAX
from topics.fields import SECOND_US, TOKENS_MAX
from topics.traffic import Completion, Request

WAITING_MAX = 1_000_000
"""Slowed answers held back at a time; beyond it the earliest is let go before its time has come in the stream."""

LOST_MAX = 1_000_000
"""Lost requests remembered until their answer has been taken out too."""

INPUT_TOKENS_MAX = 200_000
"""A surge stops at a long context window."""

_AFTERMATH_US = int(DURATION_S_MAX * SECOND_US)
"""Answers to requests of an incident come at most this long after its end."""


@dataclass
class Touched:
    """What an incident did: how many events it changed, and the models among them."""

    events: int = 0
    models: set[str] = field(default_factory=set)


Change = Callable[["Injector", int, Incident, Request | Completion], Request | Completion | None]


class Injector:
    """Applies incidents to one stream. `touched` tells afterwards what each has done, in the incidents' order."""

    def __init__(self, incidents: Sequence[Incident], seed: int) -> None:
        self.incidents = tuple(incidents)
        self.touched = tuple(Touched() for _ in incidents)
        self._key = seed.to_bytes(8, "little", signed=True)
        self._waiting: list[tuple[int, int, Completion]] = []
        self._sequence = 0
        self._lost: dict[str, None] = {}
        self._by_model: dict[str, list[tuple[int, Incident]]] = {}
        self._by_organisation: dict[str, list[tuple[int, Incident]]] = {}
        for number, incident in enumerate(incidents):
            hit = self._by_organisation if KINDS[incident.kind].hits_organisation else self._by_model
            hit.setdefault(incident.target, []).append((number, incident))

    def apply(self, events: Iterable[Event]) -> Events:
        """The events with the incidents in them, in order of event time if they came so."""
        for event in events:
            time_us = time_of(event)
            if time_us is not None and self._waiting:
                yield from self._due(time_us)
            if isinstance(event, (Request, Completion)) and self.incidents:
                changed = self._change(event)
                if changed is None:
                    continue
                if changed.time_us > event.time_us and isinstance(changed, Completion):
                    yield from self._hold(changed)
                    continue
                event = changed
            yield event
        while self._waiting:
            yield heapq.heappop(self._waiting)[2]

    def chance(self, number: int, event_id: str) -> float:
        """A number in [0, 1) that hangs on the seed, the incident and the request."""
        hashed = blake2b(f"{number}|{event_id}".encode(), digest_size=7, key=self._key).digest()
        return int.from_bytes(hashed, "little") / 2**56

    def lose(self, request_id: str) -> None:
        """Remember a lost request, so that its answer is lost as well."""
        self._lost[request_id] = None
        if len(self._lost) > LOST_MAX:
            del self._lost[next(iter(self._lost))]

    def _change(self, event: Request | Completion) -> Request | Completion | None:
        if isinstance(event, Completion) and event.id in self._lost:
            del self._lost[event.id]
            return None
        for number, incident in self._possible(event):
            changed = _CHANGES[incident.kind](self, number, incident, event)
            if changed is not event:
                self.touched[number].events += 1
                self.touched[number].models.add(event.model)
            if changed is None:
                return None
            event = changed
        return event

    def _possible(self, event: Request | Completion) -> list[tuple[int, Incident]]:
        """The incidents that this event may belong to: of its model or organisation, begun, and not long over."""
        hits = self._by_model.get(event.model, [])
        if of_organisation := self._by_organisation.get(event.organisation):
            hits = hits + of_organisation
        return [hit for hit in hits if hit[1].start_us <= event.time_us < hit[1].end_us + _AFTERMATH_US]

    def _due(self, time_us: int) -> Events:
        while self._waiting and self._waiting[0][0] <= time_us:
            yield heapq.heappop(self._waiting)[2]

    def _hold(self, completion: Completion) -> Events:
        heapq.heappush(self._waiting, (completion.time_us, self._sequence, completion))
        self._sequence += 1
        if len(self._waiting) > WAITING_MAX:
            yield heapq.heappop(self._waiting)[2]


def _arrival_us(event: Request | Completion) -> int:
    """When the request came. A completion that does not say how long it took counts as of its own time."""
    if isinstance(event, Request) or event.duration_s is None:
        return event.time_us
    return event.time_us - round(event.duration_s * SECOND_US)


def _within(incident: Incident, time_us: int) -> bool:
    return incident.start_us <= time_us < incident.end_us


def _fail(
    injector: Injector, number: int, incident: Incident, event: Request | Completion
) -> Request | Completion | None:
    if isinstance(event, Request) or event.model != incident.target or not _within(incident, event.time_us):
        return event
    if event.error_type or injector.chance(number, event.id) >= incident.strength:
        return event
    return msgspec.structs.replace(event, error_type="server_error", output_tokens=0, first_token_s=None)


def _lose(
    injector: Injector, number: int, incident: Incident, event: Request | Completion
) -> Request | Completion | None:
    if isinstance(event, Completion) or event.model != incident.target or not _within(incident, event.time_us):
        return event
    if injector.chance(number, event.id) >= incident.strength:
        return event
    injector.lose(event.id)
    return None


def _surge(
    injector: Injector, number: int, incident: Incident, event: Request | Completion
) -> Request | Completion | None:
    if event.organisation != incident.target or not _within(incident, _arrival_us(event)):
        return event
    ceiling = max(INPUT_TOKENS_MAX, event.input_tokens)
    tokens = min(round(event.input_tokens * incident.strength), ceiling, TOKENS_MAX)
    return event if tokens == event.input_tokens else msgspec.structs.replace(event, input_tokens=tokens)


def _spike(
    injector: Injector, number: int, incident: Incident, event: Request | Completion
) -> Request | Completion | None:
    return _slowed(event, incident, incident.strength)


def _leak(
    injector: Injector, number: int, incident: Incident, event: Request | Completion
) -> Request | Completion | None:
    progress = (_arrival_us(event) - incident.start_us) / (incident.end_us - incident.start_us)
    return _slowed(event, incident, 1 + (incident.strength - 1) * progress)


def _slowed(event: Request | Completion, incident: Incident, factor: float) -> Request | Completion:
    """An answer made slower by `factor`; both its first token and its end."""
    if isinstance(event, Request) or event.model != incident.target or event.duration_s is None:
        return event
    arrival_us = _arrival_us(event)
    if not _within(incident, arrival_us):
        return event
    duration_us = max(
        round(min(event.duration_s * factor, DURATION_S_MAX) * SECOND_US), round(event.duration_s * SECOND_US)
    )
    first_token_s = event.first_token_s
    return msgspec.structs.replace(
        event,
        time_us=arrival_us + duration_us,
        duration_s=duration_us / SECOND_US,
        first_token_s=None if first_token_s is None else min(first_token_s * factor, duration_us / SECOND_US),
    )


_CHANGES: dict[str, Change] = {
    "error_burst": _fail,
    "latency_spike": _spike,
    "traffic_drop": _lose,
    "token_surge": _surge,
    "latency_leak": _leak,
}
