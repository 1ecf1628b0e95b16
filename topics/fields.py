"""The checked scalars that all records are built from, with their limits."""

from typing import Annotated, Literal

from msgspec import Meta

ID_CHARACTERS_MAX = 256
PROMPT_CHARACTERS_MAX = 1_000_000
TOKENS_MAX = 100_000_000
SECONDS_MAX = 86_400.0
TIME_US_MAX = 2**53  # every JSON reader can hold it exactly; the year 2255
TEXT_CHARACTERS_MAX = 2_000

Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX)]
"""A name given by a user of the API or by us: 1 to 256 characters."""

Label = Annotated[str, Meta(max_length=ID_CHARACTERS_MAX)]
"""A short text that may be empty."""

Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX)]
"""A sentence for people: never a prompt."""

Prompt = Annotated[str, Meta(max_length=PROMPT_CHARACTERS_MAX)]

TimeUs = Annotated[int, Meta(ge=0, le=TIME_US_MAX)]
"""Event time: microseconds since 1970-01-01T00:00:00Z."""

Tokens = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
Count = Annotated[int, Meta(ge=0)]
MicroUsd = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
Score = Annotated[float, Meta(ge=0, le=1)]

Tier = Literal["free", "pro", "enterprise"]
Severity = Literal["info", "warning", "critical"]
Action = Literal["throttle", "shift_traffic", "roll_back", "invalidate_cache", "free_gpus"]

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
