"""Truth: JSON lines of `{"start": …, "end": …, "kind": …, "target": …}`; other fields are let pass.

start, end   an ISO 8601 time (without a zone: UTC); a number of seconds, milliseconds or microseconds since 1970; or,
             below 10⁸, seconds from the start of the recording (as in the incidents file of `tidegate replay`)
kind         any name; events are counted by it
target       a model, a series, or an organisation, region, client or tier, which stands for the models that it uses
             during the event; empty or `*`: any
models       instead of a target, the list of models that are hit
difficulty   optional: easy, medium or hard
dimension    optional, with `value`: the part of the traffic that is to blame, such as region and eu-west
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from replay.event import ReplayError
from replay.readers.lines import numbered
from topics.fields import SECOND_US
from topics.moments import time_us

LABELS_MAX = 100_000
FROM_START_S_MAX = 1e8
ANY = ("", "*")


class Written(msgspec.Struct, frozen=True):
    """A line of a labels file."""

    start: float | str
    end: float | str
    kind: str = "event"
    target: str = ""
    models: list[str] = []
    difficulty: str = ""
    dimension: str = ""
    value: str = ""


class Label(msgspec.Struct, frozen=True):
    """A line with its times in microseconds; `relative`: from the start of the recording."""

    start_us: int
    end_us: int
    relative: bool
    kind: str
    target: str
    models: tuple[str, ...]
    difficulty: str
    cause: str = ""  # dimension=value

    def at(self, start_us: int) -> "Label":
        """As it lies in a recording that begins at `start_us`."""
        if not self.relative:
            return self
        return msgspec.structs.replace(
            self, start_us=start_us + self.start_us, end_us=start_us + self.end_us, relative=False
        )


def read(paths: Iterable[Path]) -> list[Label]:
    """The labels of some files. Raises ReplayError naming the file and line."""
    decode = msgspec.json.Decoder(Written).decode
    labels = []
    for path in paths:
        for number, line in numbered(path):
            try:
                written = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _bad(path, number, str(error)) from error
            labels.append(_label(written, path, number))
            if len(labels) > LABELS_MAX:
                raise ReplayError(f"{path}: more than {LABELS_MAX} labels in all: name fewer files")
    return labels


def _label(written: Written, path: Path, number: int) -> Label:
    start, end = (_moment(value, path, number) for value in (written.start, written.end))
    if start[1] != end[1]:
        raise _bad(path, number, "start and end are of different kinds: one counts from the start of the recording")
    if end[0] < start[0]:
        raise _bad(path, number, "the end lies before the start")
    cause = f"{written.dimension}={written.value}" if written.dimension else ""
    return Label(
        start[0], end[0], start[1], written.kind, written.target, tuple(written.models), written.difficulty, cause
    )


def _moment(value: float | str, path: Path, number: int) -> tuple[int, bool]:
    """Microseconds, and whether they count from the recording's start."""
    if not isinstance(value, str) and abs(value) < FROM_START_S_MAX:
        return round(value * SECOND_US), True
    moment = time_us(str(value))
    if moment is None:
        raise _bad(path, number, f"{str(value)[:40]!r} is neither an ISO 8601 time nor a number of seconds")
    return moment, False


def _bad(path: Path, number: int, reason: str) -> ReplayError:
    example = '{"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:20:00Z", "kind": "error_burst", "target": "m"}'
    return ReplayError(f"{path}, line {number}: {reason}. Expected e.g. {example}")


def of_series(labels: Sequence[Label], name: str, start_us: int) -> list[Label]:
    """The labels that concern one series."""
    own = (label.at(start_us) for label in labels if label.target in (*ANY, name) or name in label.models)
    return sorted(own, key=lambda label: label.start_us)
