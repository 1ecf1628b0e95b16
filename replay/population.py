"""Who sends: organisations with the client skew of a production model, their tiers, users, models, regions, clients.

Shares are those of ServeGen's model M-large over 14 days: the busiest client sends 16 % of the requests, the five
busiest 43 %, twenty 78 %, sixty 96 %. Beyond the twentieth they fall off geometrically here, which keeps those sums.
Burstiness (coefficient of variation of a client's inter-arrival times) is the median over its windows for the twenty,
1.2 for the rest (the median of all).

Source: Xiang et al., ServeGen, arXiv 2505.09999, 2025 (Apache-2.0).
"""

import numpy as np

from replay.arrivals import Floats, Integers
from topics.fields import Tier

_BUSIEST_SHARE = (
    0.1605, 0.0717, 0.0664, 0.0664, 0.0627, 0.0541, 0.0539, 0.0444, 0.0265, 0.0258,
    0.0233, 0.0216, 0.0204, 0.0144, 0.0140, 0.0121, 0.0120, 0.0117, 0.0111, 0.0102,
)  # fmt: skip
_BUSIEST_CV = (
    1.05, 1.09, 1.52, 1.53, 1.17, 1.57, 2.69, 0.93, 0.91, 1.03,
    2.15, 1.52, 0.97, 1.18, 1.16, 1.08, 0.37, 1.04, 1.86, 1.69,
)  # fmt: skip
_REST_CV = 1.2
_REST_RATIO = 0.963  # a client's share to that of the next busier one: leaves 4 % beyond the sixtieth

REGIONS: dict[str, float] = {"eu-west": 0.4, "us-east": 0.35, "us-west": 0.15, "ap-south": 0.1}
CLIENTS: dict[str, float] = {"tide-python/2.1": 0.45, "tide-python/2.0": 0.2, "tide-js/1.4": 0.25, "curl/8.9": 0.1}
"""Shares of the requests; assumed. An organisation has a home region and a client that it mostly uses (HOME_SHARE)."""

ORGANISATIONS = 160
ENTERPRISE_ORGANISATIONS = 20
PRO_ORGANISATIONS = 40
USERS_MAX = 40
HOME_SHARE = 0.7
"""Share of an organisation's requests that go to its favourite model; the rest follows the general split."""


def _shares() -> Floats:
    busiest = np.array(_BUSIEST_SHARE)
    rest = _REST_RATIO ** np.arange(ORGANISATIONS - len(busiest))
    return np.concatenate([busiest, rest / rest.sum() * (1 - busiest.sum())])


SHARES: Floats = _shares()
CVS: Floats = np.concatenate([np.array(_BUSIEST_CV), np.full(ORGANISATIONS - len(_BUSIEST_CV), _REST_CV)])
NAMES: tuple[str, ...] = tuple(f"org-{number:03d}" for number in range(1, ORGANISATIONS + 1))
_SIZES: tuple[tuple[Tier, int], ...] = (
    ("enterprise", ENTERPRISE_ORGANISATIONS),
    ("pro", PRO_ORGANISATIONS),
    ("free", ORGANISATIONS - ENTERPRISE_ORGANISATIONS - PRO_ORGANISATIONS),
)
TIERS: tuple[Tier, ...] = tuple(tier for tier, count in _SIZES for _ in range(count))


def draw_clients(rng: np.random.Generator, rows: int) -> Integers:
    """Which organisation sent each of `rows` requests."""
    return rng.choice(ORGANISATIONS, size=rows, p=SHARES).astype(np.int64)


def draw_users(rng: np.random.Generator, rows: int) -> Integers:
    """Which user of the organisation: a few are busy, most are not (geometric)."""
    return np.minimum(rng.geometric(0.15, rows), USERS_MAX).astype(np.int64)


def draw_models(rng: np.random.Generator, clients: Integers, split: Floats) -> Integers:
    """Which model each request goes to. `split` (adds up to 1) holds over all organisations together."""
    general = rng.choice(len(split), size=len(clients), p=split)
    return np.where(rng.random(len(clients)) < HOME_SHARE, _homes(split)[clients], general).astype(np.int64)


def draw_named(rng: np.random.Generator, clients: Integers, shares: dict[str, float]) -> list[str]:
    """The region (or the client) of each request, by name."""
    names = list(shares)
    return [names[index] for index in draw_models(rng, clients, np.array(list(shares.values()))).tolist()]


def _homes(split: Floats) -> Integers:
    """Each organisation's favourite: the model that is furthest below its share so far, busiest organisations first."""
    given = np.zeros(len(split))
    homes = []
    for share in SHARES:
        home = int(np.argmax(split - given))
        given[home] += share
        homes.append(home)
    return np.array(homes)
