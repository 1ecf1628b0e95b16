"""From windows with parts to the cause that an alert names."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.judging.causes import CauseParams, Shares, explain, take_in
from pipeline.judging.context import Deployed
from pipeline.judging.families import FAMILIES
from topics.fields import MINUTE_US
from topics.records import Cause, MetricWindow, Part

FAMILY = {family.name: family for family in FAMILIES}
SHARE = {"eu-west": 0.5, "us-east": 0.4, "ap-south": 0.1}
PARAMS = CauseParams()
MEAN_US = 3_000_000


def window(
    rng: np.random.Generator,
    errors: Callable[[str], float] = lambda region: 0.004,
    slower: Callable[[str], float] = lambda region: 1.0,
    load: Callable[[str], float] = lambda region: 1.0,
    rate: float = 400.0,
) -> MetricWindow:
    """A minute: requests by region, each region's own error share, latency and load; `acme` owns a tenth of eu-west."""
    parts, total = [], [0, 0, 0]
    for region, share in SHARE.items():
        requests = int(rng.poisson(rate * share * load(region)))
        failed = int(rng.binomial(requests, errors(region)))
        took = int(MEAN_US * slower(region) * (requests - failed) * rng.normal(1.0, 0.05))
        tokens = int(requests * 600 * rng.normal(1.0, 0.05))
        parts.append(Part("region", region, requests, requests, failed, tokens, took))
        total = [a + b for a, b in zip(total, (requests, failed, tokens), strict=True)]
    requests, failed, tokens = total
    parts += [Part("organisation", f"org-{n}", errors=failed // 9, tokens=tokens // 9) for n in range(8)]
    return MetricWindow(
        id="0-0-0",
        time_us=MINUTE_US,
        model="owl",
        start_us=0,
        end_us=MINUTE_US,
        revision=0,
        requests=requests,
        completions=requests,
        errors=failed,
        error_rate=failed / max(requests, 1),
        input_tokens=tokens // 2,
        output_tokens=tokens - tokens // 2,
        tokens_per_s=tokens / 60,
        cost_microusd=tokens,
        parts=parts,
    )


def learnt(rng: np.random.Generator, windows: int = 40) -> Shares:
    shares = Shares()
    for _ in range(windows):
        take_in(shares, window(rng), anomalous=False, params=PARAMS)
    return shares


def blamed(
    family: str,
    seed: int = 1,
    deployed: Deployed | None = None,
    organisation: str = "",
    kind: str = "",
    **changed: Callable[[str], float],
) -> list[Cause]:
    rng = np.random.default_rng(seed)
    shares = learnt(rng)
    for _ in range(3):
        take_in(shares, window(rng, **changed), anomalous=True, params=PARAMS)
    return explain(shares, FAMILY[family], kind, "owl", deployed, organisation, PARAMS)


def only(region: str, value: float, otherwise: float) -> Callable[[str], float]:
    return lambda each: value if each == region else otherwise


@pytest.mark.parametrize("region", SHARE)
@pytest.mark.parametrize(
    ("family", "changed"),
    [("errors", ("errors", 0.2, 0.004)), ("latency", ("slower", 4.0, 1.0)), ("tokens", ("load", 12.0, 1.0))],
    ids=["errors", "latency", "tokens"],
)
def test_one_region_is_named(family: str, changed: tuple[str, float, float], region: str) -> None:
    effect, value, otherwise = changed
    cause = blamed(family, **{effect: only(region, value, otherwise)})[0]
    assert (cause.dimension, cause.value) == ("region", region)
    assert cause.share > 0.85


def test_a_region_whose_requests_stay_away_is_named() -> None:
    cause = blamed("traffic", load=only("us-east", 0.0, 1.0))[0]
    assert (cause.dimension, cause.value) == ("region", "us-east")
    assert "missing requests" in cause.explanation


def test_the_sentence_says_how_much_and_what_is_usual() -> None:
    cause = blamed("errors", errors=only("eu-west", 0.18, 0.004))[0]
    assert cause.explanation.startswith("Region eu-west explains ")
    assert " % of the additional errors (" in cause.explanation
    assert "error rate, usually 0." in cause.explanation


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("family", "changed"),
    [
        ("errors", {"errors": lambda region: 0.3}),
        ("errors", {"errors": lambda region: 0.05}),
        ("latency", {"slower": lambda region: 4.0}),
        ("traffic", {"load": lambda region: 0.1}),
        ("tokens", {"load": lambda region: 3.0}),
    ],
    ids=["errors", "few errors", "latency", "traffic", "tokens"],
)
def test_all_alike_is_the_model_itself(family: str, changed: dict[str, Callable[[str], float]], seed: int) -> None:
    (cause,) = blamed(family, seed, **changed)
    assert (cause.dimension, cause.value) == ("model", "owl")


def test_all_alike_after_a_deployment_is_the_version() -> None:
    deployed = Deployed(0, "2.0")
    (cause,) = blamed("errors", deployed=deployed, errors=lambda region: 0.3)
    assert (cause.dimension, cause.value) == ("deployment", "2.0")
    (cause,) = blamed("traffic", deployed=deployed, load=lambda region: 0.1)
    assert cause.dimension == "model"  # no version makes requests stay away


def test_the_organisation_behind_a_surge_comes_first() -> None:
    first, *rest = blamed("tokens", organisation="acme", load=only("eu-west", 12.0, 1.0))
    assert (first.dimension, first.value) == ("organisation", "acme")
    assert [cause.value for cause in rest] == ["eu-west"]


def test_a_cost_anomaly_is_nobodys_tokens() -> None:
    (cause,) = blamed("tokens", kind="cost_anomaly", load=only("eu-west", 12.0, 1.0))
    assert cause.dimension == "model"


def test_nothing_is_blamed_before_enough_was_seen() -> None:
    rng, shares = np.random.default_rng(1), Shares()
    take_in(shares, window(rng, errors=only("eu-west", 0.5, 0.0)), anomalous=True, params=PARAMS)
    (cause,) = explain(shares, FAMILY["errors"], "error_burst", "owl", None, "", PARAMS)
    assert cause.dimension == "model"


def test_a_model_without_parts_blames_itself() -> None:
    assert [cause.dimension for cause in _bare()] == ["model"]


def _bare() -> list[Cause]:
    shares, bare = Shares(), Shares()
    assert shares == bare
    return explain(shares, FAMILY["errors"], "error_burst", "owl", None, "", PARAMS)


def test_an_incident_does_not_become_the_usual() -> None:
    rng = np.random.default_rng(2)
    shares = learnt(rng)
    for _ in range(60):
        take_in(shares, window(rng, errors=only("eu-west", 0.3, 0.004)), anomalous=True, params=PARAMS)
    assert explain(shares, FAMILY["errors"], "error_burst", "owl", None, "", PARAMS)[0].value == "eu-west"


def test_what_is_remembered_is_bounded_and_evidence_fades() -> None:
    rng, shares = np.random.default_rng(3), Shares()
    for number in range(60):
        one = window(rng)
        take_in(shares, _with_client(one, f"client/{number}"), anomalous=number < 3, params=PARAMS)
    assert len(shares.usual["client"]) == PARAMS.values_max
    assert shares.evidence == {}
    assert shares.weight == 0.0


def _with_client(one: MetricWindow, client: str) -> MetricWindow:
    values = {name: getattr(one, name) for name in one.__struct_fields__}
    return MetricWindow(**{**values, "parts": [*one.parts, Part("client", client, 5, 5)]})
