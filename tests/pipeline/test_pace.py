"""How long a token takes: slow service is found whatever the answers' length, and longer answers are not slow."""

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.judging.metrics import PACE
from pipeline.judging.pace import Judgement, Pace, PaceParams, Sample, judge, learn
from tests.streams.minutes import windows
from topics.records import Part

PARAMS = PaceParams()
QUIET = 200


def minutes(seed: int, answers: float, slower: list[float], longer: float = 1.0, tail: float = 0.0) -> list[Judgement]:
    """The judgement of every minute after QUIET usual ones: each answer takes `slower` times as long for its tokens,
    which are `longer` times as many; a share `tail` takes eight times as long. 25 ms a token, lengths log-normal."""
    rng, state, found = np.random.default_rng(seed), Pace(), []
    for at, factor in enumerate([1.0] * QUIET + slower):
        n = max(int(rng.poisson(answers)), 1)
        tokens = np.exp(5.0 + 0.7 * rng.standard_normal(n)) * (longer if at >= QUIET else 1.0)
        taken = 500_000 + 25_000 * tokens * rng.lognormal(0.0, 0.2, n) * factor
        if at >= QUIET:
            taken[rng.random(n) < tail] *= 8.0
        sample = Sample(float(taken.sum() / tokens.sum()), n)
        found.append(judge(state, sample, PARAMS))
        learn(state, sample, PARAMS)
    assert not any(one.slow for one in found[:QUIET])
    return found[QUIET:]


@pytest.mark.parametrize(("answers", "factor", "within"), [(300.0, 1.25, 1), (300.0, 1.5, 1), (30.0, 1.5, 2)])
def test_slow_service_is_found_in_the_first_minutes(answers: float, factor: float, within: int) -> None:
    for seed in range(5):
        found = minutes(seed, answers, [factor] * 6)
        assert any(one.slow for one in found[:within])
        assert not any(one.usual for one in found[1:])


def test_longer_answers_are_no_slow_service() -> None:
    for seed in range(5):
        found = minutes(seed, 300.0, [1.0] * 20, longer=2.5)
        assert not any(one.slow for one in found)
        assert all(one.usual for one in found)


def test_a_few_very_slow_answers_add_up() -> None:
    for seed in range(5):
        assert any(one.slow for one in minutes(seed, 300.0, [1.0] * 8, tail=0.03))


def test_chance_is_not_slow() -> None:
    for answers, most in ((30.0, 3), (300.0, 0)):
        assert sum(one.slow is not None for one in minutes(7, answers, [1.0] * 5_000)) <= most


def test_a_new_pace_is_accepted() -> None:
    found = minutes(9, 300.0, [1.4] * 400)
    assert all(one.slow for one in found[:10])
    assert all(one.usual for one in found[-100:])


def test_what_is_not_known_is_neither_slow_nor_usual() -> None:
    state = Pace()
    for _ in range(PARAMS.ready_after):
        assert judge(state, Sample(90_000.0, 200), PARAMS) == Judgement()
        learn(state, Sample(25_000.0, 200), PARAMS)
    assert judge(state, Sample(None, 200), PARAMS) == Judgement()
    assert judge(state, Sample(90_000.0, PARAMS.answers_min - 1), PARAMS) == Judgement()
    assert judge(state, Sample(90_000.0, 200), PARAMS).slow is not None


def test_it_is_read_from_the_dimension_that_names_most_answers() -> None:
    window = replace(windows(3, 1)[0], completions=100, errors=10, output_tokens=18_000)
    regions = [Part("region", name, completions=30, errors=5, duration_us=200_000_000) for name in ("us", "eu")]
    tiers = [Part("tier", "free", completions=100, errors=10, duration_us=450_000_000)]
    assert PACE.read(replace(window, parts=[*regions, *tiers])) == pytest.approx(5e6 / 200)
    assert PACE.read(replace(window, parts=regions)) == pytest.approx(8e6 / 200)
    assert PACE.read(replace(window, parts=regions[:1])) is None  # of 90 answers, 25 say nothing of the rest
    assert PACE.read(replace(window, parts=[])) is None
    assert PACE.read(replace(window, errors=100)) is None
