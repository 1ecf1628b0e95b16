"""Several metrics at once: the Isolation Forest over a model's windows, grown again every so often from its history.

The forest is a function of the history, so it is not state: it is grown when needed and remembered by its content.
Windows in which two metrics or more were anomalous are not learnt. A finding must also stand out somewhere: some metric
is off its usual level by `sigmas_min` and by the effect that matters in it.
"""

from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

from detectors.isolation_forest import ForestParams, ForestState, IsolationForest
from pipeline.judging.findings import Finding, of_combination
from pipeline.judging.history import Past
from pipeline.judging.metrics import COMBINED_OF, INDEX
from pipeline.judging.track import Seen

FORESTS_REMEMBERED = 256

Vectors = tuple[tuple[float, ...], ...]


class CombinationParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`sigmas_min`: of the metric that stands out most, from its slow level."""

    forest: ForestParams = ForestParams(seed=20, trees=60, history_max=180)
    sigmas_min: float = 2.5


def windows_needed(params: CombinationParams) -> int:
    """How much history `judge` asks for."""
    return params.forest.history_max + params.forest.refit_every


def judge(
    past: Past, learned: int, seen: dict[str, Seen], effects: dict[str, float], params: CombinationParams
) -> Finding | None:
    """Whether this window's combination is rare among those that the forest in force was grown from."""
    standing_out = _standing_out(seen, effects, params)
    grown_at = learned - learned % params.forest.refit_every
    if standing_out is None or grown_at < params.forest.ready_after:
        return None
    vectors = _vectors(past, grown_at, params)
    if len(vectors) < params.forest.ready_after // 2:
        return None
    forest = grown(params.forest, grown_at // params.forest.refit_every, vectors)
    verdict = forest.score([seen[metric].value if metric in seen else None for metric in COMBINED_OF])
    return of_combination(verdict.score, params.forest.threshold, standing_out) if verdict.anomalous else None


@lru_cache(maxsize=FORESTS_REMEMBERED)
def grown(params: ForestParams, refits: int, vectors: Vectors) -> IsolationForest:
    """The forest of this history; the same history gives the same forest."""
    history = [list(vector) for vector in vectors]
    state = ForestState(learned=len(history), refits=refits, history=[], grown_from=history, last=history[-1])
    return IsolationForest(params, state)


def _standing_out(seen: dict[str, Seen], effects: dict[str, float], params: CombinationParams) -> str | None:
    off = [seen[metric] for metric in COMBINED_OF if metric in seen]
    off = [one for one in off if abs(one.off_by()) >= effects[one.measure.metric]]
    off = [one for one in off if abs(one.sigmas) >= params.sigmas_min]
    return max(off, key=lambda one: abs(one.sigmas)).measure.metric if off else None


def _vectors(past: Past, grown_at: int, params: CombinationParams) -> Vectors:
    """Of the windows before `grown_at`: a missing metric takes its last value, as the forest does when scoring."""
    end = grown_at - past.first
    start = max(end - params.forest.history_max, 0)
    columns = [_filled(past.columns[INDEX[metric]][start:end]) for metric in COMBINED_OF]
    rows = zip(past.flags[start:end], *columns, strict=True)
    usual = (vector for flags, *vector in rows if flags.bit_count() < 2)
    return tuple(tuple(vector) for vector in usual if None not in vector)


def _filled(column: Sequence[float | None]) -> list[float | None]:
    filled: list[float | None] = []
    last: float | None = None
    for value in column:
        last = last if value is None else value
        filled.append(last)
    return filled
