"""Columns of arrivals: what every reader of foreign traces and the synthesis hand to the traffic model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 8_192
"""Rows of a chunk: what replay holds in memory at a time, beside the requests in flight."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Arrivals:
    """Requests in order of arrival, as equally long columns. A column that is None is not known and gets modelled.

    `time_us` is microseconds since 1970 (or since the trace's start, until the reader places it); token counts are
    tokens. `client` numbers the organisation, 0 the busiest. `failed` marks requests known to have got no answer.
    """

    time_us: Integers
    input_tokens: Integers
    output_tokens: Integers
    client: Integers | None = None
    model: tuple[str, ...] | None = None
    failed: Booleans | None = None

    def __len__(self) -> int:
        return len(self.time_us)

    def part(self, start: int, end: int) -> "Arrivals":
        """Rows [start, end)."""
        return Arrivals(
            self.time_us[start:end],
            self.input_tokens[start:end],
            self.output_tokens[start:end],
            None if self.client is None else self.client[start:end],
            None if self.model is None else self.model[start:end],
            None if self.failed is None else self.failed[start:end],
        )

    def chunks(self) -> Iterator["Arrivals"]:
        """The same rows, at most CHUNK_ROWS at a time."""
        for start in range(0, len(self), CHUNK_ROWS):
            yield self.part(start, start + CHUNK_ROWS)
