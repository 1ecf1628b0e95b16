"""The synthesis has the statistics that it says it has, the same again for the same seed."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from replay import population, prompts
from replay.arrivals import CHUNK_ROWS
from replay.event import ReplayError
from replay.model import MODEL_SPLIT, Model
from replay.sources import synthetic
from replay.synthesis import Synthesis, arrivals
from topics.traffic import Completion, Request

START_US = 1_760_000_400_000_000
SPEC = Synthesis(duration_s=3_600, rate_per_s=20, seed=5)


@pytest.fixture(scope="module")
def events() -> list[Request | Completion]:
    return [event for event in synthetic(SPEC, START_US).events() if isinstance(event, (Request, Completion))]


@pytest.fixture(scope="module")
def requests(events: list[Request | Completion]) -> list[Request]:
    return [event for event in events if isinstance(event, Request)]


@pytest.fixture(scope="module")
def completions(events: list[Request | Completion]) -> list[Completion]:
    return [event for event in events if isinstance(event, Completion)]


def test_events_come_in_order_of_time(events: list[Request | Completion]) -> None:
    assert all(one.time_us <= next_one.time_us for one, next_one in pairwise(events))


def test_every_request_has_one_completion(requests: list[Request], completions: list[Completion]) -> None:
    assert len({request.id for request in requests}) == len(requests)
    assert sorted(request.id for request in requests) == sorted(completion.id for completion in completions)


def test_rate_and_bounds(requests: list[Request]) -> None:
    assert 0.93 < len(requests) / (SPEC.duration_s * SPEC.rate_per_s) < 1.12
    assert requests[0].time_us >= START_US
    assert requests[-1].time_us < START_US + SPEC.duration_s * 1_000_000


def test_client_skew(requests: list[Request]) -> None:
    ranked = [count / len(requests) for _, count in Counter(r.organisation for r in requests).most_common()]
    assert 0.13 < ranked[0] < 0.19
    assert 0.38 < sum(ranked[:5]) < 0.48
    assert {r.tier for r in requests if r.organisation == "org-001"} == {"enterprise"}
    assert {r.tier for r in requests} == {"enterprise", "pro", "free"}


def test_model_split(requests: list[Request]) -> None:
    shares = {model: count / len(requests) for model, count in Counter(r.model for r in requests).items()}
    assert shares == {model: pytest.approx(share, abs=0.04) for model, share in MODEL_SPLIT.items()}


def test_tokens(requests: list[Request], completions: list[Completion]) -> None:
    assert 550 < np.median([request.input_tokens for request in requests]) < 1_300
    assert 70 < np.median([c.output_tokens for c in completions if not c.error_type]) < 150
    assert all(r.max_tokens is None or r.max_tokens & (r.max_tokens - 1) == 0 for r in requests)
    assert 0.45 < np.mean([request.max_tokens is not None for request in requests]) < 0.55


def test_latency_and_errors(requests: list[Request], completions: list[Completion]) -> None:
    failed = [completion for completion in completions if completion.error_type]
    assert 0.003 < len(failed) / len(completions) < 0.007
    assert all(completion.output_tokens == 0 and completion.first_token_s is None for completion in failed)
    durations = [completion.duration_s or 0 for completion in completions]
    firsts = [completion.first_token_s for completion in completions if completion.first_token_s is not None]
    assert 1 < np.median(durations) < 5
    assert 0.4 < np.median(firsts) < 0.6
    assert max(firsts) > 5 * np.median(firsts)  # the heavy tail
    arrived = {request.id: request.time_us for request in requests}
    assert all(c.time_us - arrived[c.id] == round((c.duration_s or 0) * 1e6) for c in completions)


def test_arrivals_are_burstier_than_poisson(requests: list[Request]) -> None:
    gaps = np.diff([request.time_us for request in requests if request.organisation == "org-007"])
    assert gaps.std() / gaps.mean() > 1.8  # its coefficient of variation is 2.7, that of a Poisson process 1


def test_the_seed_decides(requests: list[Request]) -> None:
    again = [e for e in synthetic(SPEC, START_US).events() if isinstance(e, Request)]
    assert again == requests
    other = synthetic(Synthesis(duration_s=60, rate_per_s=20, seed=6), START_US).events()
    mine = synthetic(Synthesis(duration_s=60, rate_per_s=20, seed=5), START_US).events()
    assert [e.time_us for e in other if isinstance(e, Request)] != [e.time_us for e in mine if isinstance(e, Request)]


def test_chunks_stay_small_at_any_rate() -> None:
    chunks = list(arrivals(Synthesis(duration_s=2, rate_per_s=20_000), START_US))
    assert max(map(len, chunks)) <= CHUNK_ROWS
    assert sum(map(len, chunks)) > 30_000


@pytest.mark.parametrize(("duration_s", "rate"), [(0, 20.0), (100, 0.0), (100, 1e9), (10**9, 1.0)])
def test_impossible_specs_are_refused(duration_s: int, rate: float) -> None:
    with pytest.raises(ReplayError, match=r"a synthesis lasts|the rate must be"):
        Synthesis(duration_s=duration_s, rate_per_s=rate)


def test_shares_add_up() -> None:
    assert population.SHARES.sum() == pytest.approx(1)
    assert population.SHARES[:20].sum() == pytest.approx(0.78, abs=0.01)
    assert population.SHARES[:60].sum() == pytest.approx(0.96, abs=0.01)
    assert len(population.TIERS) == len(population.NAMES) == len(population.CVS) == population.ORGANISATIONS


def test_prompts_have_the_length_and_the_share_of_unsafe_ones(requests: list[Request]) -> None:
    pool, harmless = prompts.pool(SPEC.seed)
    unsafe = set(pool[harmless:])
    lengths = [len(request.prompt) for request in requests]
    assert 200 < np.median(lengths) < 400
    assert min(lengths) > 10
    assert 0.006 < np.mean([request.prompt in unsafe for request in requests]) < 0.014
    assert not unsafe & set(pool[:harmless])


def test_a_model_that_was_not_announced_still_gets_latencies() -> None:
    (chunk,) = arrivals(Synthesis(duration_s=5, rate_per_s=20), START_US)
    named = type(chunk)(chunk.time_us, chunk.input_tokens, chunk.output_tokens, model=("brand-new",) * len(chunk))
    completions = [e for e in Model("t", 1).events([named]) if isinstance(e, Completion)]
    assert {completion.model for completion in completions} == {"brand-new"}
    assert all(completion.duration_s for completion in completions)
