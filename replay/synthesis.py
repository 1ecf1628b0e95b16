"""Our own "recorded" traffic: a seeded synthesis shaped by measured statistics of production language-model services.

- Tokens: lognormal fits of the Azure LLM inference trace 2023 (Patel et al., Splitwise, ISCA 2024, CC-BY-4.0), a share
  CODE_SHARE like its code service, the rest like its conversation service. Each organisation's prompts are longer or
  shorter than the mean by a factor of its own.
- Arrivals: each organisation is a renewal process with Gamma gaps of its own burstiness, stretched to fill each window
  at its rate, as ServeGen does it (Xiang et al., arXiv 2505.09999, 2025, Apache-2.0). Rates follow a mild daily wave
  and wander from window to window.
- The rest (organisations, models, prompts, latency, errors) comes from `replay.model`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from replay import population
from replay.arrivals import Arrivals, Floats, Integers
from replay.event import ReplayError
from topics.fields import SECOND_US

WINDOW_S = 600
WINDOW_ROWS_MAX = 1_000_000
"""A window is shorter than WINDOW_S where it would hold more requests: the synthesis holds one in memory."""

CODE_SHARE = 0.2
CODE_LOG_INPUT = (6.999, 1.360)  # mean and standard deviation of the natural logarithm of the tokens
CODE_LOG_OUTPUT = (2.788, 0.847)
CHAT_LOG_INPUT = (6.633, 0.985)
CHAT_LOG_OUTPUT = (5.019, 0.859)
INPUT_TOKENS_MAX = 16_384  # the trace's longest prompt has 14,050
OUTPUT_TOKENS_MAX = 2_048  # its longest answer 1,899
ORGANISATION_LOG_SIGMA = 0.3
WAVE = 0.15
DAY_S = 86_400
WINDOW_LOG_SIGMA = 0.03
CLIENT_LOG_SIGMA = 0.08
DURATION_S_MAX = 90 * DAY_S
RATE_PER_S_MAX = 100_000.0


@dataclass(frozen=True)
class Synthesis:
    """What to make: `duration_s` of traffic at `rate_per_s` requests on average."""

    duration_s: int = 9_000
    rate_per_s: float = 20.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.duration_s <= DURATION_S_MAX:
            raise ReplayError(f"a synthesis lasts 1 to {DURATION_S_MAX} seconds, not {self.duration_s}")
        if not 0 < self.rate_per_s <= RATE_PER_S_MAX:
            raise ReplayError(
                f"the rate must be above 0 and at most {RATE_PER_S_MAX:.0f} a second, not {self.rate_per_s}"
            )


def arrivals(spec: Synthesis, start_us: int) -> Iterator[Arrivals]:
    """The requests of `spec` from `start_us` on, in chunks, in order of time."""
    rng = np.random.default_rng([spec.seed, 2])
    factors = np.exp(ORGANISATION_LOG_SIGMA * rng.standard_normal(population.ORGANISATIONS))
    window_s = max(1, min(WINDOW_S, int(WINDOW_ROWS_MAX / spec.rate_per_s)))
    for begin_s in range(0, spec.duration_s, window_s):
        length_s = min(window_s, spec.duration_s - begin_s)
        offsets_us, clients = _window(rng, spec.rate_per_s * _wave(begin_s), length_s)
        code = rng.random(len(clients)) < CODE_SHARE
        inputs = _lognormal(rng, code, CODE_LOG_INPUT, CHAT_LOG_INPUT) * factors[clients]
        outputs = _lognormal(rng, code, CODE_LOG_OUTPUT, CHAT_LOG_OUTPUT)
        yield from Arrivals(
            time_us=start_us + begin_s * SECOND_US + offsets_us,
            input_tokens=_whole(inputs, INPUT_TOKENS_MAX),
            output_tokens=_whole(outputs, OUTPUT_TOKENS_MAX),
            client=clients,
        ).chunks()


def _wave(at_s: int) -> float:
    """The daily wave: a traffic day's rise through the morning, starting from its mean."""
    return 1.0 + WAVE * float(np.sin(2 * np.pi * at_s / DAY_S))


def _window(rng: np.random.Generator, rate_per_s: float, length_s: int) -> tuple[Integers, Integers]:
    """One window's arrivals: microseconds from its start, ascending, and the client of each."""
    common = np.exp(WINDOW_LOG_SIGMA * rng.standard_normal())
    own = np.exp(CLIENT_LOG_SIGMA * rng.standard_normal(population.ORGANISATIONS))
    counts = rng.poisson(rate_per_s * length_s * common * population.SHARES * own)
    times = [_renewal(rng, int(count), float(cv)) for count, cv in zip(counts, population.CVS, strict=True)]
    offsets_us = (np.concatenate(times) * length_s * SECOND_US).astype(np.int64)
    clients = np.repeat(np.arange(population.ORGANISATIONS), counts)
    order = np.argsort(offsets_us, kind="stable")
    return offsets_us[order], clients[order]


def _renewal(rng: np.random.Generator, count: int, cv: float) -> Floats:
    """`count` arrivals in [0, 1): Gamma gaps with this coefficient of variation, stretched to fill the interval."""
    gaps = rng.gamma(1 / cv**2, size=count + 1) + 1e-12
    return np.asarray(np.cumsum(gaps)[:-1] / gaps.sum())


def _lognormal(
    rng: np.random.Generator, code: np.ndarray, code_log: tuple[float, float], chat_log: tuple[float, float]
) -> Floats:
    mean = np.where(code, code_log[0], chat_log[0])
    sigma = np.where(code, code_log[1], chat_log[1])
    return np.exp(mean + sigma * rng.standard_normal(len(code)))


def _whole(tokens: Floats, highest: int) -> Integers:
    return np.clip(np.rint(tokens), 1, highest).astype(np.int64)
