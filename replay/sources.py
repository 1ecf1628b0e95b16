"""Opening a recording: which formats there are, how one is told from another, what is known of it before it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from replay import population, rebase
from replay.event import Events, ReplayError
from replay.model import MODEL_SPLIT, MODELLED, Model
from replay.readers import azure, burstgpt, foreign, mooncake, native
from replay.readers.lines import first_line
from replay.synthesis import Synthesis, arrivals
from topics.fields import SECOND_US

FORMATS: tuple[str, ...] = ("native", "azure", "burstgpt", "mooncake")

Provenance = tuple[tuple[str, str], ...]
"""Rows of (what, where it comes from) for the report."""


@dataclass(frozen=True)
class Source:
    """A recording ready to run. `events()` begins anew each time, in order of event time, with bounded memory.

    `models` and `organisations` are ranked, busiest first. `start_us` is the first event's time after any move in time
    and `recorded_start_us` before it. `relayed`: the recording already holds relayed control events.
    """

    name: str
    format: str
    seed: int
    requests: int
    events_hint: int
    start_us: int
    recorded_start_us: int
    duration_us: int
    models: tuple[str, ...]
    organisations: tuple[str, ...]
    real: Provenance
    modelled: Provenance
    events: Callable[[], Events]
    relayed: bool = False

    @property
    def end_us(self) -> int:
        """When the last request arrives."""
        return self.start_us + self.duration_us


@dataclass(frozen=True)
class _Foreign:
    read: foreign.ReadRows
    brings: Provenance
    replaces: tuple[str, ...] = ()  # rows of MODELLED that this trace brings itself


_AZURE_ROWS = (("arrivals, token counts", "Azure LLM inference trace 2023 (Patel et al., ISCA 2024), CC-BY-4.0"),)
_BURST_ROWS = (("arrivals, token counts, model, failures", "BurstGPT (Wang et al., arXiv 2401.17644)"),)
_MOONCAKE_ROWS = (("arrivals, token counts", "Mooncake conversation trace (Qin et al., FAST 2025), Apache-2.0"),)

_FOREIGN: dict[str, _Foreign] = {
    "azure": _Foreign(azure.read, _AZURE_ROWS),
    "burstgpt": _Foreign(burstgpt.read, _BURST_ROWS, replaces=("model", "errors")),
    "mooncake": _Foreign(mooncake.read, _MOONCAKE_ROWS),
}


def detect_format(path: Path) -> str:
    """The format of a file by its first line; an error that lists the formats when it is none of them."""
    line = first_line(path)
    text = line.decode("utf-8", errors="replace")
    if line.startswith(b"{"):
        return "mooncake" if _has_keys(line, mooncake.KEYS) else "native"
    names = [name.strip() for name in text.split(",")]
    for name, columns in (("azure", azure.COLUMNS), ("burstgpt", burstgpt.COLUMNS)):
        if set(columns) <= set(names):
            return name
    raise ReplayError(
        f"{path} is in no format known here; its first line begins {text[:60]!r}. Name one with --format:"
        f" {', '.join(FORMATS)}"
    )


def _has_keys(line: bytes, keys: tuple[str, ...]) -> bool:
    try:
        return all(key in msgspec.json.decode(line, type=dict) for key in keys)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def open_source(path: Path, format: str = "", seed: int = 1, start_us: int | None = None) -> Source:  # noqa: A002 - as on the command line
    """Open a recording, moved so that it starts at `start_us` (None: its own times). `format` empty: found out.

    Raises ReplayError for a file that is missing, empty, of another format, or has a bad row (with its line number).
    """
    name = format or detect_format(path)
    if name == "native":
        return _open_native(path, seed, start_us)
    if name not in _FOREIGN:
        raise ReplayError(f"no such format: {name}. There are: {', '.join(FORMATS)}")
    return _open_foreign(path, name, seed, start_us)


def _open_native(path: Path, seed: int, start_us: int | None) -> Source:
    found = native.survey(path)
    moved = found.first_us if start_us is None else start_us
    shift = rebase.shifter(moved - found.first_us)
    return Source(
        name=path.name,
        format="native",
        seed=seed,
        requests=found.requests,
        events_hint=found.events,
        start_us=moved,
        recorded_start_us=found.first_us,
        duration_us=found.last_us - found.first_us,
        models=found.models,
        organisations=found.organisations,
        real=(("all events", "recorded, as they stand in the file"),),
        modelled=(),
        events=lambda: map(shift, native.read(path)),
        relayed=found.relayed,
    )


def _open_foreign(path: Path, name: str, seed: int, start_us: int | None) -> Source:
    kind = _FOREIGN[name]
    found = foreign.survey(path, kind.read)
    moved = found.first_us if start_us is None else start_us
    split = dict.fromkeys(found.models, 1.0) or MODEL_SPLIT

    def events() -> Events:
        return Model(name, seed, split).events(foreign.arrivals(path, kind.read, moved - found.first_us))

    return Source(
        name=path.name,
        format=name,
        seed=seed,
        requests=found.requests,
        events_hint=2 * found.requests,
        start_us=moved,
        recorded_start_us=found.first_us,
        duration_us=found.last_us - found.first_us,
        models=found.models or tuple(MODEL_SPLIT),
        organisations=population.NAMES,
        real=kind.brings,
        modelled=tuple(row for row in MODELLED if row[0] not in kind.replaces),
        events=events,
    )


_SYNTHETIC_ROWS = (
    ("token counts", "lognormal fits of the Azure LLM inference trace 2023; four fifths conversation, one fifth code"),
    ("arrivals", "Gamma renewal processes with ServeGen's client shares and burstiness; a mild daily wave"),
)


def synthetic(spec: Synthesis, start_us: int) -> Source:
    """The bundled recording: `spec`'s traffic from `start_us` (microseconds) on."""
    return Source(
        name=f"synthesis, {spec.duration_s / 60:g} min at {spec.rate_per_s:g}/s",
        format="synthesis",
        seed=spec.seed,
        requests=(expected := round(spec.duration_s * spec.rate_per_s)),
        events_hint=2 * expected,
        start_us=start_us,
        recorded_start_us=start_us,
        duration_us=spec.duration_s * SECOND_US,
        models=tuple(MODEL_SPLIT),
        organisations=population.NAMES,
        real=(),
        modelled=_SYNTHETIC_ROWS + MODELLED,
        events=partial(_synthetic_events, spec, start_us),
    )


def _synthetic_events(spec: Synthesis, start_us: int) -> Events:
    return Model("demo", spec.seed).events(arrivals(spec, start_us))
