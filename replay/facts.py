"""What a report says, as data: the facts of a run beside its score."""

from msgspec import Struct

from replay.collect import Collected
from replay.score import Score
from replay.sources import Source
from topics.codec import rfc3339


class Run(Struct, frozen=True, kw_only=True):
    """The facts of one run. `driver`: offline or kafka. `wall_s`: seconds that processing took."""

    driver: str
    events: int
    wall_s: float
    partitions: int
    versions: dict[str, str]
    incidents_left_out: list[str] = []  # default kinds that the recording had no room for


class Facts(Struct, frozen=True, kw_only=True):
    """What report.json holds."""

    source: str
    format: str
    seed: int
    start: str
    end: str
    requests: int
    run: Run
    outputs: dict[str, int]
    outcomes: dict[str, int]
    flagged: dict[str, int]
    anomalies: dict[str, int]
    dead_letters: dict[str, int]
    records_dropped_by_limits: int
    real: tuple[tuple[str, str], ...]
    modelled: tuple[tuple[str, str], ...]
    score: Score


def facts(run: Run, source: Source, collected: Collected, score: Score) -> Facts:
    """Everything a report says, as data."""
    return Facts(
        source=source.name,
        format=source.format,
        seed=source.seed,
        start=rfc3339(source.start_us),
        end=rfc3339(source.end_us),
        requests=collected.outcomes.total(),
        run=run,
        outputs=dict(collected.counts),
        outcomes=dict(collected.outcomes),
        flagged=dict(collected.flagged),
        anomalies=dict(collected.anomalies),
        dead_letters=dict(collected.dead),
        records_dropped_by_limits=collected.dropped,
        real=source.real,
        modelled=source.modelled,
        score=score,
    )
