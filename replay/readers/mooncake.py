"""Mooncake: JSON lines of timestamp (ms from the start), input_length, output_length, hash_ids (Qin et al., FAST 2025).

`hash_ids` name the prompt's blocks of 512 tokens; they are read over here, since a request carries no block hashes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from replay.event import ReplayError
from replay.readers.foreign import Row, microseconds
from replay.readers.lines import bad_row, numbered
from topics.fields import Tokens

KEYS = ("timestamp", "input_length", "output_length")


class _Line(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=0)]
    input_length: Tokens
    output_length: Tokens


def read(path: Path) -> Iterator[Row]:
    """The trace's requests, as they stand in the file."""
    decode = msgspec.json.Decoder(_Line).decode
    for number, raw in numbered(path):
        try:
            line = decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number == 1:
                raise ReplayError(
                    f"{path} is no mooncake trace: expected JSON lines with {', '.join(KEYS)}: {error}. Name its format"
                    " with --format"
                ) from error
            raise bad_row(path, number, str(error)) from error
        yield Row(microseconds(path, number, "timestamp", line.timestamp * 1000), line.input_length, line.output_length)
