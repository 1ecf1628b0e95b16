"""The kinds of incident: what each does, and how large it is at each difficulty.

A size is the larger of two: a floor, below which nobody would want to be woken, and `sigmas` times the noise of a
single minute of the model at that hour, so that a small model at night is no unfair target. At 5 σ a minute even a hard
incident is certain to a statistician who knows the usual level and looks at several minutes; at one glance among the
40,000 windows of a week and five metrics each, it is not.

    noise of a minute with n requests and error share p      errors  √(p (1 - p) / n)        tail share  √(0.01 / n)
    (logarithms for the others)                              median latency  1.25 · 0.9 / √n
                                                             requests  √(0.06² + 1.6 / n)    tokens  √(0.06² + 3.3 / n)

0.9 is the spread of log answer lengths, 0.06 what the load wanders in ten minutes, 1.6 the mean cv² of the clients'
arrivals, 3.3 that and the spread of the tokens' lengths (ServeGen, Azure: see course.py and requests.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from replay.arrivals import Floats
from replay.scenarios.course import REGION_SHARES, REGIONS, Course
from replay.scenarios.disturb import SLICES_A_MINUTE, Disturbance

Difficulty = Literal["easy", "medium", "hard"]
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")
FAST_ERRORS = 0.3
"""Half and more is a storm by any standard; from this share on the fast path is expected to see it."""


@dataclass(frozen=True)
class Size:
    """At one difficulty: the least effect, and the least distance from what is usual in σ of a minute."""

    floor: float
    sigmas: float


@dataclass(frozen=True)
class Scene:
    """Where an incident is to be: the model (number and course), its first minute, its length in minutes.

    `late` slices of that minute are over when it begins: incidents keep no whole minutes.
    """

    number: int
    course: Course
    minute: int
    minutes: int
    late: int = 0

    @property
    def start(self) -> int:
        """The first slice."""
        return self.minute * SLICES_A_MINUTE + self.late

    @property
    def requests(self) -> float:
        """Expected requests a minute over its length."""
        return float(self.course.rates[self.minute : self.minute + self.minutes].sum(axis=1).mean())

    @property
    def errors(self) -> float:
        return float(self.course.errors[self.minute : self.minute + self.minutes].mean())

    def disturbance(self, depth: Floats | None = None, **effects: float) -> Disturbance:
        whole = np.ones(self.minutes * SLICES_A_MINUTE)
        return Disturbance(self.number, self.start, whole if depth is None else depth, **effects)  # type: ignore[arg-type]  # region and organisation are whole numbers

    def add_errors(self, size: Size, share: float = 1.0) -> float:
        """The probability to add, on a part that sends this share of the requests."""
        noise = math.sqrt(self.errors * (1.0 - self.errors) / (share * self.requests))
        return min(max(size.floor, size.sigmas * noise), 0.95)

    def slower(self, size: Size, share: float = 1.0) -> float:
        """The factor on latency."""
        return math.exp(max(math.log1p(size.floor), size.sigmas * 1.25 * 0.9 / math.sqrt(share * self.requests)))

    def left(self, size: Size) -> float:
        """The share of requests that are left."""
        return math.exp(-max(-math.log1p(-size.floor), size.sigmas * math.sqrt(0.06**2 + 1.6 / self.requests)))

    def more_tokens(self, size: Size) -> float:
        """By how much the model's tokens grow: 0.5 is half as many again."""
        noise = math.sqrt(0.06**2 + 3.3 / self.requests)
        return math.expm1(max(math.log1p(size.floor), size.sigmas * noise))

    def organisation(self, rng: np.random.Generator) -> tuple[int, float]:
        """One that sends all the time, among the larger ones, and its share."""
        rates = self.course.rates[self.minute : self.minute + self.minutes].mean(axis=0)
        shares = rates / rates.sum()
        number = int(rng.choice(np.argsort(-shares)[1:12]))
        return number, float(shares[number])


@dataclass(frozen=True)
class Made:
    """The disturbances of an incident on one model; where one region or organisation is the cause, which; `fast`."""

    disturbances: tuple[Disturbance, ...]
    dimension: str = ""
    value: str = ""
    fast: bool = False


@dataclass(frozen=True)
class Kind:
    """`minutes`: shortest and longest. `requests_min`: fewer a minute, and the kind means nothing."""

    name: str
    about: str
    sizes: tuple[Size, Size, Size]
    make: Callable[[np.random.Generator, Scene, Size], Made]
    minutes: tuple[int, int] = (8, 90)
    requests_min: float = 12.0
    deployed: bool = False
    every_model: bool = False  # half of them hit all models at once


def _error_burst(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    errors = scene.add_errors(size) * float(rng.uniform(1.0, 1.3))
    return Made((scene.disturbance(errors=min(errors, 0.95)),), fast=errors >= FAST_ERRORS)


def _slow_leak(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    ramp = np.linspace(0.0, 1.0, scene.minutes * SLICES_A_MINUTE)
    return Made((scene.disturbance(ramp, latency=scene.slower(size)),))


def _latency_step(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    return Made((scene.disturbance(latency=scene.slower(size)),))


def _p99_only(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    slow = max(size.floor, size.sigmas * math.sqrt(0.01 / scene.requests))
    return Made((scene.disturbance(slow=slow, slow_times=8.0),))


def _one_region(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    region = int(rng.integers(len(REGIONS)))
    share = REGION_SHARES[region]
    slower = scene.slower(Size(size.floor, size.sigmas / 2), share) if rng.random() < 0.5 else 1.0
    hit = scene.disturbance(region=region, errors=scene.add_errors(size, share), latency=slower)
    return Made((hit,), "region", REGIONS[region])


def _organisation_abuse(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    number, share = scene.organisation(rng)
    times = 1.0 + scene.more_tokens(size) / share / 1.5
    hit = scene.disturbance(organisation=number, requests=min(times, 200.0), inputs=1.5, outputs=1.5)
    return Made((hit,), "organisation", scene.course.customers.names[number])


def _token_surge(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    number, share = scene.organisation(rng)
    times = 1.0 + scene.more_tokens(size) / (0.8 * share)  # four fifths of all tokens are prompts
    hit = scene.disturbance(organisation=number, inputs=min(times, 60.0))
    return Made((hit,), "organisation", scene.course.customers.names[number])


def _cost_anomaly(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    return Made((scene.disturbance(price=1.0 + scene.more_tokens(size)),))


def _traffic_zero(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    return Made((scene.disturbance(requests=size.floor),), fast=True)


def _traffic_partial_drop(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    return Made((scene.disturbance(requests=scene.left(size)),))


def _flapping(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    depth = np.zeros(scene.minutes * SLICES_A_MINUTE)
    at = 0
    while at < len(depth):
        on = int(rng.integers(2 * SLICES_A_MINUTE, 5 * SLICES_A_MINUTE))
        depth[at : at + on] = 1.0
        at += on + int(rng.integers(2 * SLICES_A_MINUTE, 6 * SLICES_A_MINUTE))
    errors = scene.add_errors(size)
    return Made((scene.disturbance(depth, errors=errors),), fast=errors >= FAST_ERRORS)


def _correlated(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    hit = scene.disturbance(
        errors=scene.add_errors(Size(size.floor / 10, size.sigmas)),
        latency=scene.slower(size),
        requests=scene.left(Size(size.floor / 2, size.sigmas)),
    )
    return Made((hit,))


def _bad_deployment(rng: np.random.Generator, scene: Scene, size: Size) -> Made:
    depth = np.minimum(np.arange(scene.minutes * SLICES_A_MINUTE) / (3 * SLICES_A_MINUTE), 1.0)
    hit = scene.disturbance(
        depth, errors=scene.add_errors(Size(size.floor / 8, size.sigmas)), latency=scene.slower(size)
    )
    return Made((hit,))


_KINDS = (
    Kind(
        "error_burst",
        "answers fail: 40 %, 8 %, 2.5 % more than usual",
        (Size(0.4, 12), Size(0.08, 8), Size(0.025, 5)),
        _error_burst,
    ),
    Kind(
        "slow_leak",
        "latency grows steadily to ×4, ×2.5, ×1.8",
        (Size(3.0, 12), Size(1.5, 8), Size(0.8, 6)),
        _slow_leak,
        minutes=(30, 90),
    ),
    Kind(
        "latency_step",
        "every answer takes ×3, ×1.9, ×1.5 as long, at once",
        (Size(2.0, 12), Size(0.9, 8), Size(0.5, 5)),
        _latency_step,
    ),
    Kind(
        "p99_only",
        "8 %, 4 %, 2.5 % of the requests take eight times as long",
        (Size(0.08, 12), Size(0.04, 8), Size(0.025, 5)),
        _p99_only,
        minutes=(12, 90),
        requests_min=90.0,
    ),
    Kind(
        "one_region",
        "answers in one region fail (50 %, 25 %, 12 %), half of the time slowly",
        (Size(0.5, 14), Size(0.25, 9), Size(0.12, 6)),
        _one_region,
        requests_min=60.0,
    ),
    Kind(
        "organisation_abuse",
        "one organisation sends so many requests that the model's tokens grow by 150 %, 80 %, 50 %",
        (Size(1.5, 10), Size(0.8, 7), Size(0.5, 5)),
        _organisation_abuse,
        requests_min=30.0,
    ),
    Kind(
        "token_surge",
        "one organisation sends such long prompts that the model's tokens grow by 150 %, 80 %, 50 %",
        (Size(1.5, 10), Size(0.8, 7), Size(0.5, 5)),
        _token_surge,
        requests_min=30.0,
    ),
    Kind(
        "cost_anomaly",
        "the same tokens cost 200 %, 100 %, 60 % more",
        (Size(2.0, 10), Size(1.0, 7), Size(0.6, 5)),
        _cost_anomaly,
    ),
    Kind(
        "traffic_zero",
        "none, 2 %, 5 % of the requests are left",
        (Size(0.0, 0), Size(0.02, 0), Size(0.05, 0)),
        _traffic_zero,
    ),
    Kind(
        "traffic_partial_drop",
        "80 %, 65 %, 50 % of the requests stay away",
        (Size(0.8, 8), Size(0.65, 6), Size(0.5, 5)),
        _traffic_partial_drop,
        minutes=(10, 90),
        requests_min=30.0,
    ),
    Kind(
        "flapping",
        "answers fail (50 %, 25 %, 10 %) for two to five minutes, again and again",
        (Size(0.5, 14), Size(0.25, 10), Size(0.1, 7)),
        _flapping,
        minutes=(30, 75),
    ),
    Kind(
        "correlated",
        "errors (10, 6, 3 points), latency (×2, ×1.6, ×1.3) and traffic (-50 %, -30 %, -15 %) together",
        (Size(1.0, 7), Size(0.6, 5), Size(0.3, 3.5)),
        _correlated,
        every_model=True,
    ),
    Kind(
        "bad_deployment",
        "a new version is slower (×2.5, ×1.8, ×1.4) and fails more (19, 10, 5 points)",
        (Size(1.5, 10), Size(0.8, 7), Size(0.4, 5)),
        _bad_deployment,
        minutes=(15, 90),
        deployed=True,
    ),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
