"""The latency model: first token and inter-token time, shaped by the LLMPerf leaderboard's single requests.

duration = first_token + (output_tokens - 1) * inter_token, where, z standard normal and drawn per request:

    first_token = median * exp(SIGMA_FIRST * z) * slow,   inter_token = median * exp(SIGMA_INTER * z')

`slow` is 1 but for a share SLOW_SHARE of the requests, which wait exp(SLOW_LOG_MEAN + SLOW_LOG_SIGMA * z'') times as
long: the heavy tail that makes p99 what it is. All figures are read off the answered requests (2,306 of 2,845):
median over providers of each size's median; spread of the ratio to the pair's median (99 % of the ratios lie below 2.2
without one cold-starting provider and below 4.1 with it; 0.3 % and 1.3 % exceed 3, and the slowest is 183).
It says nothing of load or prompt length: every request there had about 550 tokens of prompt and five neighbours.

Source: Anyscale / ray-project, LLMPerf leaderboard, December 2023 (Apache-2.0).
"""

from dataclasses import dataclass

import numpy as np

from replay.arrivals import Floats, Integers

SIGMA_FIRST = 0.20
SIGMA_INTER = 0.10
SLOW_SHARE = 0.004
SLOW_LOG_MEAN = 1.63
SLOW_LOG_SIGMA = 0.80
DURATION_S_MAX = 600.0
"""No request takes longer: gateways cut them off. Also what bounds how many completions wait in memory."""

ERROR_SHARE = 0.005
"""Base share of failed requests. LLMPerf's own errors are rate limits of the benchmark, so this one is assumed."""


@dataclass(frozen=True)
class Profile:
    """Medians of one model size, in seconds."""

    first_token_s: float
    inter_token_s: float


PROFILES: tuple[Profile, ...] = (
    Profile(first_token_s=0.452, inter_token_s=0.0273),  # 70B: median of eight providers
    Profile(first_token_s=0.524, inter_token_s=0.0232),  # 13B: of six
    Profile(first_token_s=0.519, inter_token_s=0.0188),  # 7B: of five
)


def draw(rng: np.random.Generator, profile: Integers, output_tokens: Integers) -> tuple[Integers, Integers]:
    """First-token time and duration in microseconds for requests of these profiles (indices) and lengths."""
    rows = len(profile)
    medians = np.array([(row.first_token_s, row.inter_token_s) for row in PROFILES])[profile]
    first_s = medians[:, 0] * np.exp(SIGMA_FIRST * rng.standard_normal(rows)) * _slow(rng, rows)
    inter_s = medians[:, 1] * np.exp(SIGMA_INTER * rng.standard_normal(rows))
    first_s = np.minimum(first_s, DURATION_S_MAX)
    duration_s = np.minimum(first_s + np.maximum(output_tokens - 1, 0) * inter_s, DURATION_S_MAX)
    return whole_us(first_s), whole_us(duration_s)


def whole_us(seconds: Floats) -> Integers:
    """Seconds as whole microseconds, at least one: nothing ends at the instant it began."""
    return np.maximum(np.rint(seconds * 1e6), 1).astype(np.int64)


def _slow(rng: np.random.Generator, rows: int) -> Floats:
    factor = np.exp(SLOW_LOG_MEAN + SLOW_LOG_SIGMA * rng.standard_normal(rows))
    return np.where(rng.random(rows) < SLOW_SHARE, np.maximum(factor, 1.0), 1.0)
