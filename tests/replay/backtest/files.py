"""Small inputs of each kind, with truth that can be counted by hand."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from replay.incidents import Incident
from replay.inject import Injector
from replay.readers.native import lines
from replay.sources import synthetic
from replay.synthesis import Synthesis
from tests.replay.records import START_US, at, window
from topics.codec import encoder
from topics.records import MetricWindow
from topics.table import BY_ALIAS

MINUTES_A_DAY = 1_440
ROWS = 3 * MINUTES_A_DAY
EVENT = range(2_000, 2_010)
FALSE_ROW = 3_400


def series(path: Path, spikes: Iterable[int], marked: Sequence[int] | None, rows: int = ROWS, seed: int = 3) -> Path:
    """One-minute noise around 100 with spikes to 400; `marked` rows have label 1 (None: no such column)."""
    noise, spiking = random.Random(seed), set(spikes)
    head = "timestamp,value" + ("" if marked is None else ",label")
    text = [head]
    for row in range(rows):
        value = 400.0 if row in spiking else 100 + noise.gauss(0, 2)
        label = "" if marked is None else f",{int(row in set(marked))}"
        text.append(f"{(START_US + row * 60_000_000) // 1_000_000},{value:.3f}{label}")
    path.write_text("\n".join(text) + "\n")
    return path


def bursting(
    minutes: int = 150, burst: range = range(100, 112), model: str = "m-one", seed: int = 5
) -> list[MetricWindow]:
    """A model's windows: steady, with 1 % of errors, and 40 % in the burst."""
    noise = random.Random(seed)
    made = []
    for minute in range(minutes):
        requests = 600 + round(noise.gauss(0, 15))
        errors = round(requests * 0.4) if minute in burst else 6 + round(noise.gauss(0, 1))
        made.append(
            window(
                minute, model, requests=requests, completions=requests, errors=errors, error_rate=errors / requests,
                duration_us_p50=3_000_000 + round(noise.gauss(0, 60_000)),
                duration_us_p99=20_000_000 + round(noise.gauss(0, 400_000)),
                first_token_us_p99=900_000 + round(noise.gauss(0, 20_000)),
            )
        )  # fmt: skip
    return made


def windows(path: Path, records: Iterable[MetricWindow], more: Sequence[bytes] = ()) -> Path:
    encode = encoder(BY_ALIAS["windows"])
    path.write_bytes(b"\n".join([*map(encode, records), *more]) + b"\n")
    return path


def label(start: float, end: float, kind: str = "error_burst", target: str = "m-one", **more: Any) -> bytes:
    """A line of labels; times in minutes of the windows above."""
    return msgspec.json.encode({"start": at(start), "end": at(end), "kind": kind, "target": target, **more})


def labels(path: Path, *rows: bytes) -> Path:
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


def traffic(path: Path, minutes: int = 60) -> tuple[Path, Incident]:
    """A recording in our own format with one error burst in it."""
    source = synthetic(Synthesis(minutes * 60, 8.0, 6), START_US)
    incident = Incident("error_burst", at(44), at(54), source.models[0], 0.5)
    events = Injector([incident], 6).apply(source.events())
    path.write_bytes(b"\n".join(lines(events)) + b"\n")
    return path, incident
