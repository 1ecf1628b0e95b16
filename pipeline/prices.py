"""What tokens cost: integer micro-dollars."""

from math import gcd
from typing import NamedTuple

from msgspec import Struct

MILLION = 1_000_000


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """Micro-dollars for a million tokens. The defaults (3 $, 0.30 $, 15 $) are an order of magnitude: set your own."""

    input_microusd: int = 3_000_000
    cached_microusd: int = 300_000
    output_microusd: int = 15_000_000

    def __post_init__(self) -> None:
        if min(self.input_microusd, self.cached_microusd, self.output_microusd) < 0:
            raise ValueError("a price is negative: give micro-dollars for a million tokens, 0 or more")


class Rates(NamedTuple):
    """A price in lowest terms: micro-dollars for `tokens` tokens. Small numbers are quick to reckon with."""

    per_input: int
    per_cached: int
    per_output: int
    tokens: int


def rates_of(price: Price) -> Rates:
    common = gcd(price.input_microusd, price.cached_microusd, price.output_microusd, MILLION)
    return Rates(
        price.input_microusd // common,
        price.cached_microusd // common,
        price.output_microusd // common,
        MILLION // common,
    )
