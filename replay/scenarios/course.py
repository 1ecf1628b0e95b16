"""The undisturbed course of one model over the weeks: how many requests each organisation sends in each minute, and at
which levels latency, errors and answer lengths lie.

Measured, from ServeGen's production model M-large (162 clients over 14 days; Xiang et al., arXiv 2505.09999, 2025,
Apache-2.0): the shape of the day (DAY), how far the whole load wanders from it (autocorrelation 0.82 at ten minutes),
how far a steady client does (its rate moves by 4 to 13 % in ten minutes), that some clients are batch jobs which are on
39 to 77 % of the time and begin and end within one window, client shares and burstiness (`replay.population`).
Assumed: the day's shape sharpened for consumer models (`sharpness`; the measured one hardly sleeps), quieter weekends,
growth of -2 to +6 % a week, holidays, launches, deployments that shift levels by up to 15 %, noisy hours.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from replay import latency, population
from replay.arrivals import Floats, Integers

DAY_MINUTES = 1_440
WEEK_MINUTES = 7 * DAY_MINUTES
ORGANISATIONS = 40

DAY = (
    0.938, 0.965, 0.938, 0.913, 0.867, 0.859, 0.882, 0.839, 0.819, 0.928, 1.068, 1.145,
    1.009, 1.010, 1.035, 1.070, 1.128, 1.095, 1.044, 1.090, 1.131, 1.077, 1.084, 1.067,
)  # fmt: skip
"""Each hour's load over the day's mean: the median over the days of ServeGen's M-large."""

WANDER_SIGMA, WANDER_MINUTES = 0.08, 50.0  # of all clients together; e^(-10/50) = 0.82
OWN_SIGMA, OWN_MINUTES = 0.12, 120.0  # of each client
RATE_SIGMA = 0.2  # of the models' mean rates from seed to seed
BATCH_CLIENTS = (5, 11)  # ranks of the organisations that are batch jobs
BATCH_ON, BATCH_MINUTES = 0.4, 240.0  # share of the time, mean length of a run

REGIONS = ("us-east", "eu-west", "ap-south", "sa-east")
REGION_SHARES = (0.42, 0.31, 0.18, 0.09)
AT_HOME = 0.8  # share of an organisation's requests that come from its home region
CLIENTS = ("python/2.1", "python/2.0", "node/4.3", "go/1.8")
CLIENT_SHARES = (0.45, 0.27, 0.2, 0.08)


@dataclass(frozen=True)
class Profile:
    """What tells models apart. `rate_per_s`: mean of the requests. `sharpness`: the power of the day's shape."""

    model: str
    rate_per_s: float
    sharpness: float
    weekend: float
    size: int  # index into the latency profiles: 70B, 13B, 7B
    error_share: float
    noisy_hours: tuple[int, ...]


PROFILES: tuple[Profile, ...] = (
    Profile("tide-70b", 11.0, 1.0, 0.85, 0, 0.004, (10, 11)),
    Profile("tide-13b", 5.0, 2.5, 0.7, 1, 0.006, (16,)),
    Profile("tide-7b", 2.5, 4.0, 0.95, 2, 0.003, ()),
    Profile("tide-vision", 0.9, 3.0, 0.55, 1, 0.008, (9, 20)),
)


@dataclass(frozen=True)
class Customers:
    """One model's organisations. Rows are organisations; `regions` are cumulative shares of their requests."""

    names: tuple[str, ...]
    tiers: tuple[str, ...]
    shares: Floats
    cvs: Floats
    regions: Floats
    prompts: Floats  # factor on the length of their prompts
    codes: Floats  # share of their requests that are code


@dataclass(frozen=True)
class Course:
    """By minute (and organisation, for `rates`, requests a minute). The levels are factors on the usual, but `errors`,
    which is a probability. `jitter` widens the latencies' spread in noisy hours."""

    profile: Profile
    customers: Customers
    rates: Floats
    latency: Floats
    answers: Floats
    errors: Floats
    jitter: Floats

    def per_minute(self, minute: int) -> float:
        """Expected requests in this minute."""
        return float(self.rates[minute].sum())


@dataclass(frozen=True)
class Turn:
    """Something legitimate at `minute`: a `deployment`, a `launch` (announced or not), a `holiday`."""

    kind: str
    minute: int
    end: int
    size: float
    announced: bool = True


def customers(rng: np.random.Generator, model: str) -> Customers:
    """Forty organisations: ServeGen's shares in nearly ServeGen's order, homes and prompt lengths of their own."""
    order = np.argsort(np.arange(ORGANISATIONS) + rng.normal(0.0, 2.0, ORGANISATIONS))
    shares = population.SHARES[:ORGANISATIONS] / population.SHARES[:ORGANISATIONS].sum()
    homes = rng.choice(len(REGIONS), ORGANISATIONS, p=REGION_SHARES)
    regions = np.tile((1 - AT_HOME) * np.array(REGION_SHARES), (ORGANISATIONS, 1))
    regions[np.arange(ORGANISATIONS), homes] += AT_HOME
    return Customers(
        names=tuple(population.NAMES[:ORGANISATIONS]),
        tiers=tuple(population.TIERS[:ORGANISATIONS]),
        shares=shares[order],
        cvs=population.CVS[:ORGANISATIONS][order],
        regions=np.cumsum(regions, axis=1),
        prompts=np.exp(0.3 * rng.standard_normal(ORGANISATIONS)),
        codes=np.where(rng.random(ORGANISATIONS) < 0.2, 0.9, 0.05),
    )


def turns(rng: np.random.Generator, weeks: int) -> tuple[Turn, ...]:
    """What will happen to one model that is no incident."""
    minutes = weeks * WEEK_MINUTES
    found: list[Turn] = []
    for week in range(weeks):
        first = week * WEEK_MINUTES
        found += [
            Turn("deployment", first + minute, minutes, float(rng.uniform(-0.15, 0.15)))
            for minute in rng.integers(DAY_MINUTES, WEEK_MINUTES, 2).tolist()
        ]
        if rng.random() < 0.5:
            begin = first + int(rng.integers(DAY_MINUTES, WEEK_MINUTES - 600))
            announced = bool(rng.random() < 0.5)
            size = float(rng.uniform(0.6, 1.2) if announced else rng.uniform(0.2, 0.4))
            found.append(Turn("launch", begin, begin + int(rng.integers(240, 600)), size, announced))
        if rng.random() < 0.3:
            begin = first + int(rng.integers(1, 7)) * DAY_MINUTES
            found.append(Turn("holiday", begin, begin + DAY_MINUTES, float(rng.uniform(0.2, 0.4))))
    return tuple(sorted(found, key=lambda turn: turn.minute))


def course(rng: np.random.Generator, profile: Profile, weeks: int, events: tuple[Turn, ...]) -> Course:
    """The whole course of one model."""
    own = customers(rng, profile.model)
    minutes = weeks * WEEK_MINUTES
    at = np.arange(minutes)
    load = _day(at, profile.sharpness) * _week(at, profile.weekend) * _growth(rng, at) * _events(at, events)
    load = load * np.exp(_wander(rng, minutes, 1, WANDER_SIGMA, WANDER_MINUTES)[:, 0])
    rates = load[:, None] * own.shares * np.exp(_wander(rng, minutes, ORGANISATIONS, OWN_SIGMA, OWN_MINUTES))
    for rank in BATCH_CLIENTS:
        rates[:, rank] *= _batch(rng, minutes)
    mean_per_s = profile.rate_per_s * np.exp(RATE_SIGMA * rng.standard_normal())
    rates *= 60.0 * mean_per_s / rates.sum(axis=1).mean()
    latency_level, answers, errors = _levels(rng, minutes, profile, events)
    noisy = np.isin(at % DAY_MINUTES // 60, profile.noisy_hours)
    return Course(
        profile=profile,
        customers=own,
        rates=rates,
        latency=latency_level * _loaded(rates),
        answers=answers,
        errors=np.clip(errors * np.where(noisy, 2.0, 1.0), 0.0005, 0.02),
        jitter=np.where(noisy, 2.0, 1.0),
    )


def _day(at: Integers, sharpness: float) -> Floats:
    shape = np.interp(at % DAY_MINUTES / 60.0, np.arange(24) + 0.5, DAY, period=24.0)
    return np.asarray(shape**sharpness)


def _week(at: Integers, weekend: float) -> Floats:
    """Down on Saturday morning, up again on Monday morning, within three hours each; minute 0 is a Monday."""
    return np.interp(
        at % WEEK_MINUTES / DAY_MINUTES, [0.2, 0.33, 5.2, 5.33, 7.2], [weekend, 1.0, 1.0, weekend, weekend]
    )


def _growth(rng: np.random.Generator, at: Integers) -> Floats:
    return np.asarray((1.0 + rng.uniform(-0.02, 0.06)) ** (at / WEEK_MINUTES))


def _events(at: Integers, events: tuple[Turn, ...]) -> Floats:
    """Holidays sink in over hours; an announced launch comes within 20 minutes, another within 90."""
    factor = np.ones(len(at))
    for turn in events:
        if turn.kind in ("launch", "holiday"):
            ramp = {"launch": 20 if turn.announced else 90, "holiday": 300}[turn.kind]
            inside = np.interp(at, [turn.minute, turn.minute + ramp, turn.end, turn.end + ramp], [0.0, 1.0, 1.0, 0.0])
            factor *= 1.0 + (turn.size if turn.kind == "launch" else -turn.size) * inside
    return factor


def _wander(rng: np.random.Generator, minutes: int, columns: int, sigma: float, memory: float) -> Floats:
    """Stationary first-order autoregressions of this standard deviation and correlation time (in minutes)."""
    phi = np.exp(-1.0 / memory)
    noise = rng.standard_normal((minutes, columns)) * sigma * np.sqrt(1.0 - phi**2)
    noise[0] = rng.standard_normal(columns) * sigma
    return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=0))


def _batch(rng: np.random.Generator, minutes: int) -> Floats:
    """On and off with exponential lengths; on, it sends so much that its mean stays."""
    on = np.zeros(minutes)
    at, running = 0, bool(rng.random() < BATCH_ON)
    while at < minutes:
        mean = BATCH_MINUTES if running else BATCH_MINUTES * (1.0 - BATCH_ON) / BATCH_ON
        length = 1 + int(rng.exponential(mean))
        on[at : at + length] = running / BATCH_ON
        at, running = at + length, not running
    return np.maximum(on, 0.02)


def _loaded(rates: Floats) -> Floats:
    """Latency grows with load: by a tenth at the usual peak, by more beyond (assumed; no trace tells)."""
    total = rates.sum(axis=1)
    return np.asarray(1.0 + 0.1 * np.minimum(total / np.quantile(total, 0.95), 3.0) ** 3)


def _levels(
    rng: np.random.Generator, minutes: int, profile: Profile, events: tuple[Turn, ...]
) -> tuple[Floats, Floats, Floats]:
    """Latency, answer length and error probability, each wandering a little and shifted by every deployment."""
    latency_level, answers, errors = (
        np.exp(_wander(rng, minutes, 1, sigma, 300.0)[:, 0]) for sigma in (0.02, 0.03, 0.15)
    )
    for turn in events:
        if turn.kind == "deployment":
            latency_level[turn.minute :] *= 1.0 + turn.size
            answers[turn.minute :] *= 1.0 + turn.size * rng.uniform(-0.7, 0.7)
            errors[turn.minute :] *= rng.uniform(0.8, 1.25)
    return latency_level, answers, errors * profile.error_share


def medians_s(profile: Profile) -> tuple[float, float]:
    """First token and inter-token time of the model's size, by LLMPerf."""
    row = latency.PROFILES[profile.size]
    return row.first_token_s, row.inter_token_s
