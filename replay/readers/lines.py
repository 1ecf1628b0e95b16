"""Lines of a file, plain or gzipped, with their numbers; and the errors that all readers share."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from replay.event import ReplayError

LINE_BYTES_MAX = 16 * 1024 * 1024
"""No line is longer: a file of something else (a binary without line ends) is not read into memory whole."""


def open_bytes(path: Path) -> BinaryIO:
    """The file for reading, decompressed when its name ends in .gz."""
    try:
        return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise ReplayError(f"cannot read {path}: {error.strerror}. Give the path of a recorded trace") from error


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line's number, from 1, and its bytes without the line end. Blank lines are left out."""
    with open_bytes(path) as file:
        number = 0
        try:
            while line := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(line) > LINE_BYTES_MAX:
                    raise bad_row(path, number, f"is longer than {LINE_BYTES_MAX} bytes")
                if stripped := line.strip():
                    yield number, stripped
        except (OSError, EOFError) as error:
            raise ReplayError(f"cannot read {path} after line {number}: {error}") from error


def first_line(path: Path) -> bytes:
    """The first line that is not blank, without a byte order mark."""
    for _, line in numbered(path):
        return line.removeprefix(b"\xef\xbb\xbf")
    raise ReplayError(f"{path} is empty: there is nothing to replay")


def bad_row(path: Path, number: int, reason: str) -> ReplayError:
    """The error about a row that cannot be used."""
    return ReplayError(f"{path}, line {number}: {reason}. Correct or remove the line")
