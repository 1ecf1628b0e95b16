"""What a completion costs: integer micro-dollars, rounded up."""

from collections.abc import Mapping

from msgspec import Struct

from topics.traffic import Completion

MILLION = 1_000_000


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """Micro-dollars for a million tokens. The defaults (3 $, 0.30 $, 15 $) are an order of magnitude: set your own."""

    input_microusd: int = 3_000_000
    cached_microusd: int = 300_000
    output_microusd: int = 15_000_000

    def __post_init__(self) -> None:
        if min(self.input_microusd, self.cached_microusd, self.output_microusd) < 0:
            raise ValueError("a price is negative: give micro-dollars for a million tokens, 0 or more")


def cost_microusd(completion: Completion, prices: Mapping[str, Price], default: Price) -> int:
    """The completion's cost by its model's price; cached tokens are part of the input and have their own price."""
    price = prices.get(completion.model, default)
    cached = min(completion.cached_tokens, completion.input_tokens)
    total = (
        (completion.input_tokens - cached) * price.input_microusd
        + cached * price.cached_microusd
        + completion.output_tokens * price.output_microusd
    )
    return -(-total // MILLION)
