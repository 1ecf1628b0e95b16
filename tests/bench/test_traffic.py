"""The benchmarks' traffic is what it says: valid records, one order of time, each completion behind its request."""

from collections import Counter

import pytest

from bench.prompts import HARMFUL_SHARE, Prompts
from bench.traffic import COMPLETION_AFTER_US, Record, Traffic, base_for, records
from pipeline.stages.safety import Safety, SafetyParams
from topics.codec import decoder, partition_of
from topics.table import BY_ALIAS
from topics.traffic import Completion, Request

BASE_US = 1_700_000_000_000_000
DECODE = decoder(BY_ALIAS["traffic"])


def events(made: list[Record]) -> list[Request | Completion]:
    return [DECODE(record.value) for record in made]


@pytest.mark.parametrize("completions", ["none", "each", "only"])
@pytest.mark.parametrize("prompts", [False, True])
def test_as_many_events_as_it_says_all_readable_and_in_their_place(prompts: bool, completions: str) -> None:
    traffic = Traffic(3_000, BASE_US, partitions=4, prompts=prompts, completions=completions)
    made = list(records(traffic))
    kinds = Counter(type(event) for event in events(made))
    assert len(made) == traffic.events
    assert kinds[Request] == traffic.decisions
    for record, event in zip(made, events(made), strict=True):
        assert event.organisation.encode() == record.key
        assert record.partition == partition_of(record.key, 4)
        assert record.time_ms == event.time_us // 1000


def test_time_never_falls_and_completions_follow_their_requests() -> None:
    made = events(list(records(Traffic(2_000, BASE_US, per_s=100, completions="each"))))
    assert [event.time_us for event in made] == sorted(event.time_us for event in made)
    begun = {event.id: event for event in made if isinstance(event, Request)}
    for event in made:
        if isinstance(event, Completion):
            request = begun[event.id]
            assert event.time_us - request.time_us == COMPLETION_AFTER_US
            assert (event.organisation, event.model) == (request.organisation, request.model)


def test_the_rest_of_a_log_goes_on_where_the_beginning_ended() -> None:
    """Recovery sends the last requests later: they must be new ones."""
    cut, whole = 20_000, Traffic(20_500, BASE_US, organisations=20_500, each_once=True)
    rest = events(list(records(whole, cut)))
    everything = events(list(records(whole)))
    assert rest == everything[cut:]
    assert len({event.organisation for event in everything}) == 20_500


def test_the_same_seed_makes_the_same_records_and_another_does_not() -> None:
    one, same, other = (list(records(Traffic(500, BASE_US, prompts=True, seed=seed))) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_last_event_is_not_in_the_future() -> None:
    traffic = Traffic(1_000, base_for(1_000, 100, BASE_US), per_s=100, completions="each")
    assert max(event.time_us for event in events(list(records(traffic)))) <= BASE_US


def test_busy_organisations_have_the_larger_tiers() -> None:
    made = events(list(records(Traffic(20_000, BASE_US, organisations=1_000))))
    tiers = {event.organisation: event.tier for event in made if isinstance(event, Request)}
    busiest, _ = Counter(event.organisation for event in made).most_common(1)[0]
    assert tiers[busiest] == "enterprise"
    assert set(tiers.values()) == {"free", "pro", "enterprise"}


def test_prompts_are_of_realistic_length_varied_and_a_share_is_blocked() -> None:
    made = [event.prompt for event in events(list(records(Traffic(4_000, BASE_US, prompts=True)))) if event.prompt]
    assert 270 <= sum(map(len, made)) / len(made) <= 330
    assert len(set(made)) > 0.99 * len(made)
    blocked = sum(bool(verdict.flagged) for verdict in Safety(SafetyParams())._verdicts(made))
    assert 0.5 * HARMFUL_SHARE <= blocked / len(made) <= 2 * HARMFUL_SHARE


def test_prompts_come_from_the_seed_alone() -> None:
    assert Prompts(3).openings == Prompts(3).openings
    assert Prompts(3).backgrounds != Prompts(4).backgrounds
