"""The judge of the peers: its input, its exact answers, and that it tells a wrong answer from a right one."""

from collections import defaultdict

import msgspec
import pytest

from bench.peers.answers import QUANTILES, TOLERANCE, Window, check, complete, parse
from bench.peers.produce import closing, records
from bench.peers.run import Measured, steady_events_per_cpu_s
from bench.peers.work import GRACE_US, MINUTE_US, Answer, Key, Work, base_for, exact
from topics.codec import decoder, time_problem
from topics.table import BY_ALIAS
from topics.traffic import Completion

BASE_US = 1_700_000_040_000_000
WORK = Work(events=25_000, base_us=BASE_US, events_per_s=150)  # more than one chunk, and nearly three minutes
DECODE = decoder(BY_ALIAS["traffic"])


@pytest.fixture(scope="module")
def events() -> list[Completion]:
    return [DECODE(value) for _, _, value, _ in records(WORK)]


def counted_one_by_one(events: list[Completion]) -> dict[Key, Answer]:
    """The windows from the JSON that was sent, in plain Python: nothing in common with `exact`."""
    windows: dict[Key, list[Completion]] = defaultdict(list)
    for event in events:
        windows[event.model, event.time_us - event.time_us % MINUTE_US].append(event)
    return {key: answer_of(inside) for key, inside in windows.items()}


def answer_of(inside: list[Completion]) -> Answer:
    durations = sorted(
        round(event.duration_s * 1e6) for event in inside if not event.error_type and event.duration_s is not None
    )
    errors = sum(bool(event.error_type) for event in inside)
    return Answer(
        completions=len(inside),
        errors=errors,
        input_tokens=sum(event.input_tokens for event in inside),
        output_tokens=sum(event.output_tokens for event in inside),
        duration_us_p50=durations[(len(durations) + 1) // 2 - 1],
        duration_us_p99=durations[-(-99 * len(durations) // 100) - 1],
        error_rate=errors / len(inside),
    )


def test_the_exact_answers_are_those_of_the_json_that_is_sent(events: list[Completion]) -> None:
    assert exact(WORK) == counted_one_by_one(events)
    assert len(exact(WORK)) == 3 * WORK.models


def test_a_shorter_work_is_a_prefix_of_a_longer_one() -> None:
    shorter = Work(events=21_000, base_us=BASE_US, events_per_s=150)
    assert list(records(shorter)) == list(records(WORK))[:21_000]


def test_disorder_stays_within_two_seconds(events: list[Completion]) -> None:
    latest = 0
    for event in events:
        latest = max(latest, event.time_us)
        assert latest - event.time_us < 2_000_000 + 1_000_000 // WORK.events_per_s + 1


def test_a_key_has_one_partition() -> None:
    for keyed_by in ("organisation", "model"):
        places = {(key, partition) for partition, key, _, _ in records(Work(25_000, BASE_US, keyed_by=keyed_by))}
        assert len(places) == len({key for key, _ in places})


def test_no_record_comes_from_the_future_and_all_are_taken_by_the_pipeline() -> None:
    now_us = BASE_US + 123_456_789
    work = Work(events=25_000, base_us=base_for(25_000, now_us))
    for _, _, value, time_ms in [*records(work), *closing(work)]:
        event = DECODE(value)
        assert event.time_us <= now_us
        assert time_problem(event.time_us, time_ms * 1000) is None


def test_closing_events_close_every_window_of_every_model_in_every_partition() -> None:
    closers = [(partition, DECODE(value)) for partition, _, value, _ in closing(WORK)]
    assert len({(partition, event.model) for partition, event in closers}) == WORK.partitions * WORK.models
    last_end_us = max(start_us for _, start_us in exact(WORK)) + MINUTE_US
    assert all(event.time_us > last_end_us + GRACE_US for _, event in closers)


def test_right_answers_pass_also_with_quantiles_within_the_tolerance() -> None:
    near = {
        key: want._replace(duration_us_p99=(want.duration_us_p99 or 0) * (1 + 0.9 * TOLERANCE))
        for key, want in exact(WORK).items()
    }
    assert check(near, exact(WORK)) == []


@pytest.mark.parametrize("field", Answer._fields)
def test_every_field_that_is_wrong_in_one_window_is_found(field: str) -> None:
    key = next(iter(exact(WORK)))
    right = exact(WORK)[key]
    wrong = getattr(right, field) * (1 + 1.5 * TOLERANCE) if field in QUANTILES else getattr(right, field) + 1
    problems = check({**exact(WORK), key: right._replace(**{field: wrong})}, exact(WORK))
    assert len(problems) == 1
    assert field in problems[0]


def test_missing_windows_missing_quantiles_and_windows_from_nowhere_are_found() -> None:
    key = next(iter(exact(WORK)))
    missing = {other: answer for other, answer in exact(WORK).items() if other != key}
    assert check(missing, exact(WORK)) == [f"{key}: no answer"]
    assert not complete(missing, exact(WORK))
    assert check({**exact(WORK), key: exact(WORK)[key]._replace(duration_us_p50=None)}, exact(WORK))
    nowhere = ("tide-999b", BASE_US - BASE_US % MINUTE_US)
    assert check({**exact(WORK), nowhere: exact(WORK)[key]}, exact(WORK))


def test_an_empty_window_or_one_of_the_closing_events_is_no_mistake() -> None:
    key = next(iter(exact(WORK)))
    behind = (key[0], WORK.closing_us - WORK.closing_us % MINUTE_US)
    empty = ("tide-999b", BASE_US - BASE_US % MINUTE_US)
    nothing = exact(WORK)[key]._replace(completions=0)
    assert check({**exact(WORK), behind: exact(WORK)[key], empty: nothing}, exact(WORK)) == []


def test_a_record_of_a_peer_is_read_with_fields_it_has_besides() -> None:
    key, want = next(iter(exact(WORK).items()))
    record = msgspec.json.encode({**msgspec.to_builtins(Window(*key, **want._asdict())), "revision": 0})
    assert parse(record) == (key, want)


def test_steady_is_free_of_what_both_runs_have_in_common() -> None:
    start_up_s, event_s = 3.0, 1e-5
    shorter, longer = (Measured("x", events, start_up_s + events * event_s, 0.0, 0.0) for events in (10_000, 50_000))
    assert steady_events_per_cpu_s(shorter, longer) == pytest.approx(1 / event_s)
    assert longer.events_per_cpu_s < 1 / event_s
