"""Several metrics at once: the Isolation Forest over a model's windows, grown again every so often from its history.

The forest is a function of the history, so it is not state: it is grown every `refit_every` windows, each model in
windows of its own, which a hash says, and remembered by its content, so that an incident of all models meets forests
that are there already; where one is not (after a restart), it is grown when needed. Windows in which two metrics or
more were anomalous are not learnt. A finding must also stand out somewhere: some metric is off its usual level by
`sigmas_min` and by the effect that matters in it.
"""

from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
from msgspec import Struct

from detectors.isolation_forest import ForestParams, ForestState, IsolationForest
from detectors.rows import Array
from pipeline.judging.findings import Finding, of_combination
from pipeline.judging.history import Past
from pipeline.judging.metrics import COMBINED_OF, INDEX

FORESTS_REMEMBERED = 512  # 0.3 MB each
COLUMNS = [INDEX[metric] for metric in COMBINED_OF]


class CombinationParams(Struct, frozen=True, forbid_unknown_fields=True):
    """`sigmas_min`: of the metric that stands out most, from its slow level."""

    forest: ForestParams = ForestParams(seed=20, trees=60, history_max=180)
    sigmas_min: float = 2.5


def windows_needed(params: CombinationParams) -> int:
    """How much history `judge` asks for."""
    return params.forest.history_max + params.forest.refit_every


def due(model: str, learned: int, params: CombinationParams) -> bool:
    """Whether the window after the `learned`-th is the first of another forest; a model's first is not hurried."""
    return learned > params.forest.ready_after and learned == _grown_at(model, learned, params)


def prepare(past: Past, model: str, learned: int, params: CombinationParams) -> None:
    """Grow the forest in force at the next window, unless it is remembered."""
    _forest(past, model, learned, params)


def judge(
    past: Past, model: str, learned: int, window: Sequence[float | None], standing_out: str, params: CombinationParams
) -> Finding | None:
    """Whether this window's combination is rare among those that the forest in force was grown from.

    window        the metrics of COMBINED_OF above their profiles
    standing_out  the metric that is off its level the most
    """
    forest = _forest(past, model, learned, params)
    if forest is None:
        return None
    verdict = forest.score(window)
    return of_combination(verdict.score, params.forest.threshold, standing_out) if verdict.anomalous else None


def _grown_at(model: str, learned: int, params: CombinationParams) -> int:
    """The window at which the forest in force was grown, at or before the `learned`-th."""
    newest = learned - (learned - crc32(model.encode())) % params.forest.refit_every
    return max(newest, min(learned, params.forest.ready_after))


def _forest(past: Past, model: str, learned: int, params: CombinationParams) -> IsolationForest | None:
    grown_at = _grown_at(model, learned, params)
    if grown_at < params.forest.ready_after:
        return None
    vectors = _vectors(past, grown_at, params)
    if len(vectors) < params.forest.ready_after // 2:
        return None
    return grown(params.forest, grown_at // params.forest.refit_every, vectors.tobytes())


@lru_cache(maxsize=FORESTS_REMEMBERED)
def grown(params: ForestParams, refits: int, packed: bytes) -> IsolationForest:
    """The forest of this history (rows of float64); the same history gives the same forest."""
    history = np.frombuffer(packed).reshape(-1, len(COLUMNS)).tolist()
    state = ForestState(learned=len(history), refits=refits, history=[], grown_from=history, last=history[-1])
    return IsolationForest(params, state)


def _vectors(past: Past, grown_at: int, params: CombinationParams) -> Array:
    """Of the windows before `grown_at`: a missing metric takes its last value, as the forest does when scoring."""
    end = grown_at - past.first
    start = max(end - params.forest.history_max, 0)
    rows = _filled(past.values[start:end][:, COLUMNS])
    usual = np.array([flags.bit_count() < 2 for flags in past.flags[start:end].tolist()], dtype=bool)
    return np.ascontiguousarray(rows[usual & (rows == rows).all(axis=1)])


def _filled(rows: Array) -> Array:
    """Each column's missing values replaced by its last ones."""
    at = np.where(rows == rows, np.arange(len(rows))[:, None], 0)
    return np.take_along_axis(rows, np.maximum.accumulate(at, axis=0), axis=0)
