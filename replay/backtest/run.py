"""Runs all inputs with one configuration after the other, and gathers what came of it."""

import gzip
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from msgspec import Struct

from pipeline.settings import Settings
from replay.backtest import flow, series
from replay.backtest.inputs import Input
from replay.backtest.labels import Label, read
from replay.backtest.model import Judgement
from replay.backtest.result import Configuration
from replay.readers.series import Columns

Advance = Callable[[int, int], None]


class Options(Struct, frozen=True):
    """`warm_up`: share of each series that is run but not scored; `warm_up_us`: from the start of each recording.
    `seed`: for what a foreign trace does not say. `processes`: files judged at a time."""

    warm_up: float = 0.15
    warm_up_us: int = 0
    seed: int = 1
    processes: int = 1
    columns: Columns = Columns()


def judge(
    inputs: Sequence[Input],
    labels: Sequence[Label] | None,
    configuration: Configuration,
    options: Options,
    advance: Advance,
) -> Judgement:
    """All inputs, each from an empty state. `labels` None: those that lie beside each input. Raises ReplayError."""
    several = sum(one.content != "series" for one in inputs) > 1
    alone = partial(_one, labels=labels, settings=configuration.settings, options=options, several=several)
    found = Judgement()
    if options.processes == 1 or len(inputs) == 1:
        for one in inputs:
            found.add(alone(one, advance=advance))
        return found
    with Pool(min(options.processes, len(inputs))) as pool:
        for one, judged in zip(inputs, pool.imap(alone, inputs), strict=True):
            found.add(judged)
            advance(sum(strip.rows for strip in judged.strips), bytes_of([one.path]))
    return found


def _one(
    one: Input,
    labels: Sequence[Label] | None,
    settings: Settings,
    options: Options,
    several: bool,
    advance: Advance = lambda rows, size: None,
) -> Judgement:
    """One input by itself."""
    truth = read(one.labels) if labels is None else labels
    if one.content == "series":
        return series.run(one, settings.series, truth, options.warm_up, options.columns, advance)
    prefix = f"{one.name}: " if several else ""
    return flow.run(one, settings, truth, options.seed, prefix, advance, options.warm_up_us)


def cores() -> int:
    """How many cores there are."""
    return os.cpu_count() or 1


def bytes_of(paths: Iterable[Path]) -> int:
    """About how many bytes will be read, unpacked: for a progress bar."""
    return sum(_unpacked(path) if path.suffix == ".gz" else path.stat().st_size for path in paths)


def _unpacked(path: Path) -> int:
    """A gzip file's last four bytes are the length of what was packed (RFC 1952), modulo 4 GiB."""
    with path.open("rb") as packed:
        size = packed.seek(0, 2)
        if size < len(gzip.compress(b"")):
            return 0
        packed.seek(-4, 2)
        (length,) = struct.unpack("<I", packed.read(4))
        return int(length)
