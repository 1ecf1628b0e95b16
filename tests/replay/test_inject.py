"""Laws of injection: order by time kept, nothing changed outside, the same again for the same seed."""

from itertools import pairwise

import msgspec
import pytest

from replay.event import Event
from replay.incidents import KINDS, Incident
from replay.inject import Injector
from replay.sources import synthetic
from replay.synthesis import Synthesis
from topics.fields import MINUTE_US
from topics.traffic import Completion, Request, Tick

START_US = 1_760_000_400_000_000
BEGIN_US, END_US = START_US + 4 * MINUTE_US, START_US + 8 * MINUTE_US
TARGETS = {kind.name: "org-001" if kind.hits_organisation else "tide-70b" for kind in KINDS.values()}

Sent = list[Request | Completion]


def _incident(kind: str, strength: float | None = None) -> Incident:
    return Incident(kind, BEGIN_US, END_US, TARGETS[kind], strength or KINDS[kind].strength)


@pytest.fixture(scope="module")
def plain() -> Sent:
    source = synthetic(Synthesis(duration_s=720, rate_per_s=20, seed=9), START_US)
    return [event for event in source.events() if isinstance(event, (Request, Completion))]


def _injected(plain: Sent, *incidents: Incident, seed: int = 1) -> Sent:
    return [e for e in Injector(incidents, seed).apply(iter(plain)) if isinstance(e, (Request, Completion))]


def _by_id(events: Sent) -> dict[tuple[str, str], Request | Completion]:
    return {(type(event).__name__, event.id): event for event in events}


def _arrivals(events: Sent) -> dict[str, int]:
    return {event.id: event.time_us for event in events if isinstance(event, Request)}


@pytest.mark.parametrize("kind", KINDS)
def test_order_by_time_is_kept(plain: Sent, kind: str) -> None:
    changed = _injected(plain, _incident(kind))
    assert all(one.time_us <= following.time_us for one, following in pairwise(changed))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_else_changes(plain: Sent, kind: str) -> None:
    """Only events of the target, and of requests or answers inside the interval, differ or are missing."""
    before, after, arrived = _by_id(plain), _by_id(_injected(plain, _incident(kind))), _arrivals(plain)
    assert after.keys() <= before.keys()
    changed = [event for key, event in before.items() if after.get(key) != event]
    assert changed
    for event in changed:
        assert TARGETS[kind] in (event.model, event.organisation)
        inside = event.time_us if kind == "error_burst" else arrived[event.id]
        assert BEGIN_US <= inside < END_US


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_the_count_is_told(plain: Sent, kind: str) -> None:
    injector = Injector([_incident(kind)], seed=1)
    once = list(injector.apply(iter(plain)))
    assert once == _injected(plain, _incident(kind), seed=1)
    if kind in ("error_burst", "traffic_drop"):
        assert once != _injected(plain, _incident(kind), seed=2)
    assert injector.touched[0].events > 50
    assert TARGETS[kind] in injector.touched[0].models or kind == "token_surge"


def test_no_incident_changes_nothing(plain: Sent) -> None:
    assert _injected(plain) == plain


def test_error_burst_fails_its_share(plain: Sent) -> None:
    after = _injected(plain, _incident("error_burst", 0.3))
    hit = [e for e in after if isinstance(e, Completion) and e.model == "tide-70b" and BEGIN_US <= e.time_us < END_US]
    failed = [event for event in hit if event.error_type]
    assert 0.25 < len(failed) / len(hit) < 0.36
    assert all(event.output_tokens == 0 and event.first_token_s is None for event in failed)


def test_traffic_drop_takes_requests_out_with_their_answers(plain: Sent) -> None:
    after = _injected(plain, _incident("traffic_drop", 0.9))
    requests = {e.id for e in after if isinstance(e, Request)}
    assert requests == {e.id for e in after if isinstance(e, Completion)}
    inside = [i for i, t in _arrivals(plain).items() if BEGIN_US <= t < END_US]
    model = {e.id: e.model for e in plain}
    hit = [i for i in inside if model[i] == "tide-70b"]
    assert 0.05 < len(requests & set(hit)) / len(hit) < 0.15


def test_latency_spike_multiplies_time_and_moves_the_answer(plain: Sent) -> None:
    before, arrived = _by_id(plain), _arrivals(plain)
    for event in _injected(plain, _incident("latency_spike", 4)):
        old = before[type(event).__name__, event.id]
        if isinstance(event, Completion) and isinstance(old, Completion) and event != old:
            assert event.duration_s == pytest.approx((old.duration_s or 0) * 4, rel=1e-5)
            assert event.time_us == arrived[event.id] + round((event.duration_s or 0) * 1e6)
            assert old.first_token_s is None or event.first_token_s == pytest.approx(old.first_token_s * 4)


def test_latency_leak_grows(plain: Sent) -> None:
    before, arrived = _by_id(plain), _arrivals(plain)
    factors = sorted(
        (arrived[event.id], (event.duration_s or 0) / (old.duration_s or 1))
        for event in _injected(plain, _incident("latency_leak", 3))
        if isinstance(event, Completion)
        and isinstance(old := before["Completion", event.id], Completion)
        and event.model == "tide-70b"
        and BEGIN_US <= arrived[event.id] < END_US
    )
    assert factors[0][1] < 1.1
    assert factors[-1][1] > 2.8
    assert all(later[1] >= earlier[1] - 0.01 for earlier, later in pairwise(factors))


def test_token_surge_lengthens_request_and_answer_alike(plain: Sent) -> None:
    after = _by_id(_injected(plain, _incident("token_surge", 10)))
    changed = [event for event in plain if after[type(event).__name__, event.id] != event]
    assert {event.organisation for event in changed} == {"org-001"}
    for event in changed:
        new = after[type(event).__name__, event.id]
        assert new.input_tokens == min(event.input_tokens * 10, 200_000)
        assert new.input_tokens == after["Completion", event.id].input_tokens


def test_overlapping_incidents_add_up(plain: Sent) -> None:
    after = _injected(plain, _incident("latency_spike"), _incident("error_burst"), _incident("token_surge"))
    assert all(one.time_us <= following.time_us for one, following in pairwise(after))
    slow_failures = [e for e in after if isinstance(e, Completion) and e.error_type and (e.duration_s or 0) > 20]
    assert slow_failures


def test_what_is_no_request_passes_and_an_answer_without_duration_stays() -> None:
    bare = Completion(id="x", time_us=BEGIN_US + 5, organisation="o", model="tide-70b", input_tokens=1, output_tokens=1)
    events: list[Event] = [b"junk", Tick(time_us=BEGIN_US), bare]
    assert list(Injector([_incident("latency_spike")], 1).apply(events)) == events


def test_slowed_answers_come_out_at_the_end() -> None:
    slow = Completion(
        id="x", time_us=BEGIN_US + 2_000_000, organisation="o", model="tide-70b", input_tokens=1, output_tokens=1,
        duration_s=2.0, first_token_s=0.5,
    )  # fmt: skip
    assert list(Injector([_incident("latency_spike", 4)], 1).apply([slow])) == [
        msgspec.structs.replace(slow, time_us=BEGIN_US + 8_000_000, duration_s=8.0, first_token_s=2.0)
    ]
