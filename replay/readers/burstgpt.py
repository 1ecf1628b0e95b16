"""BurstGPT: Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type (Wang et al., arXiv 2401.17644).

Timestamps are seconds from the trace's start. A response of 0 tokens is a request that failed, as its authors say.
"""

from collections.abc import Iterator
from pathlib import Path

from replay.readers.foreign import Row, microseconds, table, tokens
from replay.readers.lines import bad_row
from topics.fields import ID_CHARACTERS_MAX, SECOND_US

COLUMNS = ("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")


def read(path: Path) -> Iterator[Row]:
    """The trace's requests, as they stand in the file."""
    for number, (time, model, request, response, _, _) in table(path, COLUMNS, "burstgpt"):
        answered = tokens(path, number, "Response tokens", response)
        yield Row(
            _time_us(path, number, time),
            tokens(path, number, "Request tokens", request),
            answered,
            model=_model(path, number, model),
            failed=answered == 0,
        )


def _model(path: Path, number: int, text: str) -> str:
    name = text.strip()
    if 1 <= len(name) <= ID_CHARACTERS_MAX:
        return name
    raise bad_row(path, number, f"Model must have 1 to {ID_CHARACTERS_MAX} characters")


def _time_us(path: Path, number: int, text: str) -> int:
    try:
        return microseconds(path, number, "Timestamp", float(text) * SECOND_US)
    except ValueError as error:
        reason = f"Timestamp must be seconds from the trace's start, not {text[:40]!r}"
        raise bad_row(path, number, reason) from error
