"""Azure LLM inference trace 2023: TIMESTAMP,ContextTokens,GeneratedTokens (Patel et al., Splitwise, ISCA 2024).

Times are UTC with seven decimals; the seventh is dropped.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from replay.readers.foreign import Row, microseconds, table, tokens
from replay.readers.lines import bad_row
from topics.fields import SECOND_US

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(path: Path) -> Iterator[Row]:
    """The trace's requests, as they stand in the file."""
    for number, (time, context, generated) in table(path, COLUMNS, "azure"):
        yield Row(
            _time_us(path, number, time),
            tokens(path, number, "ContextTokens", context),
            tokens(path, number, "GeneratedTokens", generated),
        )


def _time_us(path: Path, number: int, text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        reason = f"TIMESTAMP must look like 2023-11-16 18:15:46.6805900, not {text[:40]!r}"
        raise bad_row(path, number, reason) from error
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    exact_us = (since.days * 86_400 + since.seconds) * SECOND_US + since.microseconds
    return microseconds(path, number, "TIMESTAMP", exact_us)
