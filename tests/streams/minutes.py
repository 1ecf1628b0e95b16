"""Seeded windows of a language model's traffic, made request by request, with incidents injected where asked.

Arrivals are Poisson with an extra gamma spread (bursts), tokens log-normal, a dozen organisations share them by Zipf's
law, latency is first token + inter-token time × output tokens with a heavy tail, half a percent fails; the load has a
mild daily shape. Nothing here is measured: it is only like the real thing (replay/ has what is fitted to traces).
"""

from dataclasses import dataclass

import numpy as np

from topics.fields import MINUTE_US
from topics.records import MetricWindow, OrganisationTokens, Part

START_US = 1_700_000_000_000_000 // MINUTE_US * MINUTE_US
ORGANISATIONS = 12
REGIONS = ("us", "eu", "ap")
NAMED_MAX = 8


@dataclass(frozen=True)
class Incident:
    """`strength`: error share; latency factor; share of traffic left; token factor; growth a minute; length factor."""

    kind: str
    start: int
    length: int
    strength: float
    organisation: int = 0

    def at(self, minute: int) -> bool:
        return self.start <= minute < self.start + self.length


DRAWN = {
    "error_burst": (8, 15, 0.2, 0.4),
    "latency_spike": (6, 10, 3.0, 5.0),
    "traffic_drop": (8, 15, 0.0, 0.2),
    "token_surge": (8, 15, 3.0, 3.0),
    "latency_leak": (20, 29, 0.03, 0.06),
}  # minutes from, to; strength from, to


def windows(
    seed: int, minutes: int, incidents: tuple[Incident, ...] = (), rate: float = 300.0, model: str = "m-large"
) -> list[MetricWindow]:
    """`minutes` windows of one model with `rate` requests a minute on average."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 1440)
    return [
        _window(rng, minute, _load(rng, minute, phase, rate), [i for i in incidents if i.at(minute)], model)
        for minute in range(minutes)
    ]


def _load(rng: np.random.Generator, minute: int, phase: float, rate: float) -> float:
    return float(rate * (1 + 0.25 * np.sin(2 * np.pi * (minute + phase) / 1440)) * rng.gamma(150, 1 / 150))


def _window(rng: np.random.Generator, minute: int, load: float, active: list[Incident], model: str) -> MetricWindow:
    strength = {incident.kind: incident.strength for incident in active}
    requests = int(rng.poisson(load * strength.get("traffic_drop", 1.0)))
    shares = 1 / np.arange(1, ORGANISATIONS + 1) ** 0.8
    owner = rng.choice(ORGANISATIONS, requests, p=shares / shares.sum())
    prompt = rng.lognormal(6.5, 1.0, requests)
    answer = rng.lognormal(5.0, 0.7, requests) * strength.get("longer_answers", 1.0)
    for incident in active:
        if incident.kind == "token_surge":
            prompt[owner == incident.organisation] *= incident.strength
            answer[owner == incident.organisation] *= incident.strength**0.5
    slow = np.where(rng.random(requests) < 0.004, rng.lognormal(1.6, 0.8, requests), 1.0)
    factor = strength.get("latency_spike", 1.0)
    for incident in active:
        if incident.kind == "latency_leak":
            factor *= (1 + incident.strength) ** (minute - incident.start + 1)
    first = 0.5e6 * rng.lognormal(0, 0.25, requests) * slow * factor
    duration = first + answer * 0.025e6 * rng.lognormal(0, 0.1, requests) * factor
    region = owner % len(REGIONS)
    failing = np.where(region == 0, strength.get("region_failure", 0.005), 0.005)
    failed = rng.random(requests) < np.maximum(failing, strength.get("error_burst", 0.005))
    answer[failed] = 0
    duration[failed], first[failed] = first[failed], first[failed]
    return _summed(minute, model, requests, owner, prompt, answer, first, duration, failed)


def _summed(
    minute: int,
    model: str,
    requests: int,
    owner: np.ndarray,
    prompt: np.ndarray,
    answer: np.ndarray,
    first: np.ndarray,
    duration: np.ndarray,
    failed: np.ndarray,
) -> MetricWindow:
    start_us = START_US + minute * MINUTE_US
    input_tokens, output_tokens = int(prompt.astype(int).sum()), int(answer.astype(int).sum())
    by_owner = np.bincount(owner, weights=prompt + answer, minlength=ORGANISATIONS)
    errors = int(failed.sum())
    of_region = np.bincount(owner % len(REGIONS), minlength=len(REGIONS)).tolist()
    failed_of = np.bincount(owner[failed] % len(REGIONS), minlength=len(REGIONS)).tolist()
    of_region_us = np.bincount(owner % len(REGIONS), weights=duration * ~failed, minlength=len(REGIONS)).tolist()
    first, duration = first[~failed], duration[~failed]
    top = np.argsort(-by_owner, kind="stable")[:NAMED_MAX]

    def quantile(values: np.ndarray, q: float) -> int | None:
        return int(np.quantile(values, q)) if len(values) else None

    return MetricWindow(
        id=f"0-{minute}-0",
        time_us=start_us + MINUTE_US,
        model=model,
        start_us=start_us,
        end_us=start_us + MINUTE_US,
        revision=0,
        requests=requests,
        completions=requests,
        errors=errors,
        error_rate=errors / requests if requests else 0.0,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        tokens_per_s=(input_tokens + output_tokens) / 60,
        cost_microusd=3 * input_tokens + 15 * output_tokens,
        first_token_us_p50=quantile(first, 0.5),
        first_token_us_p99=quantile(first, 0.99),
        duration_us_p50=quantile(duration, 0.5),
        duration_us_p99=quantile(duration, 0.99),
        parts=[
            Part("region", name, requests=n, completions=n, errors=bad, duration_us=round(spent_us))
            for name, n, bad, spent_us in zip(REGIONS, of_region, failed_of, of_region_us, strict=True)
            if n
        ],
        top_organisations=[OrganisationTokens(f"org-{i:02d}", int(by_owner[i])) for i in top if by_owner[i] > 0],
    )


def planned(seed: int) -> tuple[tuple[Incident, ...], int]:
    """The five kinds in an order, of lengths and strengths drawn from `seed`, after 45 quiet minutes; total minutes."""
    rng = np.random.default_rng([seed, 5])
    found, at = [], 45
    for kind in rng.permutation(sorted(DRAWN)):
        shortest, longest, weakest, strongest = DRAWN[kind]
        length = int(rng.integers(shortest, longest + 1))
        organisation = int(rng.integers(0, 3))
        found.append(Incident(str(kind), at, length, float(rng.uniform(weakest, strongest)), organisation))
        at += length + int(rng.integers(12, 20))
    return tuple(found), at
