"""The whole path, watch and localise, on made-up systems whose culprit is known: any service can be it.

A random acyclic call graph of ten services. In each row a service's own time and requests vary; its duration is its
own time plus that of its calls, its errors its own plus those of its callees. A fault of three rows is laid into one:

slow     its own time grows by 200 ms        errors   5 % of its answers fail
busy     CPU doubles, own time by 30 ms      network  calls to it take 100 ms longer at all callers
"""

import random
from collections import Counter

import msgspec
import pytest

from detectors.localise import Call, clues_of, localise
from detectors.multimetric import Metric, Series, Value, Watch, WatchParams, WatchState

SERVICES = [f"s{i}" for i in range(10)]
MINUTE_US = 60_000_000
QUIET_ROWS, FAULT_ROWS = 240, 3
PARAMS = WatchParams(
    metrics=(
        Metric("cpu", "resource"),
        Metric("mean_s", "latency", floor=0.001, mean_over="requests"),
        Metric("requests", "load"),
        Metric("failed", "errors"),
        Metric("network_s", "network", floor=0.001),
    )
)


def graph(rng: random.Random) -> dict[str, list[str]]:
    """Callees by caller; every service but the first is called by one or two before it."""
    calls: dict[str, list[str]] = {name: [] for name in SERVICES}
    for i, name in enumerate(SERVICES[1:], start=1):
        for caller in rng.sample(SERVICES[:i], k=min(i, rng.choice((1, 1, 2)))):
            calls[caller].append(name)
    return calls


def binomial(rng: random.Random, n: int, p: float) -> int:
    """By its normal approximation."""
    return min(max(round(rng.gauss(n * p, (n * p * (1.0 - p)) ** 0.5)), 0), n)


def row(
    rng: random.Random, calls: dict[str, list[str]], own_s: dict[str, float], fault: tuple[str, str] | None
) -> dict[Series, Value]:
    """One minute; `fault` is (kind, service)."""
    kind, target = fault or ("", "")
    load = {SERVICES[0]: rng.gauss(1000.0, 30.0)}
    for name in SERVICES:
        for callee in calls[name]:
            load[callee] = load.get(callee, 0.0) + load[name]
    found: dict[Series, Value] = {}
    mean: dict[str, float] = {}
    wrong: dict[str, float] = {}
    for name in reversed(SERVICES):
        own = own_s[name] * rng.lognormvariate(0.0, 0.1)
        own += {"slow": 0.2, "busy": 0.03}.get(kind, 0.0) if name == target else 0.0
        network = {
            c: 0.002 * rng.lognormvariate(0.0, 0.2) + 0.1 * (kind == "network" and c == target) for c in calls[name]
        }
        mean[name] = own + sum(mean[c] + network[c] for c in calls[name])
        wrong[name] = 0.001 + 0.05 * (kind == "errors" and name == target) + sum(wrong[c] for c in calls[name])
        requests = round(load[name])
        found[Series(name, "mean_s")] = mean[name]
        found[Series(name, "requests")] = float(requests)
        found[Series(name, "failed")] = (binomial(rng, requests, wrong[name]), requests)
        found[Series(name, "cpu")] = (1.0 + (kind == "busy" and name == target)) * rng.gauss(30.0, 2.0)
        found.update({Series(c, "network_s", name): network[c] for c in calls[name]})
    return found


def named(kind: str) -> Counter[bool]:
    """How often the target is named first, and not, over systems and targets."""
    outcomes: Counter[bool] = Counter()
    for seed in range(4):
        rng = random.Random(seed)
        calls = graph(rng)
        edges: list[Call] = [(a, b) for a, callees in calls.items() for b in callees]
        own_s = {name: rng.uniform(0.005, 0.05) for name in SERVICES}
        watch = Watch(PARAMS)
        for i in range(QUIET_ROWS):
            watch.step(i * MINUTE_US, row(rng, calls, own_s, None))
        learnt = msgspec.json.encode(watch.state)
        for target in SERVICES[kind == "network" :]:  # nobody calls the first
            watch = Watch(PARAMS, msgspec.json.decode(learnt, type=WatchState))
            for i in range(QUIET_ROWS, QUIET_ROWS + FAULT_ROWS):
                seen = watch.step(i * MINUTE_US, row(rng, calls, own_s, (kind, target)))
            suspects = localise(clues_of(seen.evidence), edges)
            outcomes[bool(suspects) and suspects[0].entity == target] += 1
    return outcomes


@pytest.mark.parametrize("kind", ["slow", "errors", "busy", "network"])
def test_whichever_service_is_at_fault_it_is_named_first(kind: str) -> None:
    outcomes = named(kind)
    assert outcomes[True] >= 0.9 * outcomes.total(), outcomes
