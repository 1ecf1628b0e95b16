"""Where the processor's time of detection goes, by detector: a sampler that looks at the stack every millisecond of it.

    share of a detector = samples within detection whose innermost known file is one of its / samples within detection

The samples are taken on the processor's clock (`ITIMER_PROF`), so what waits costs nothing. A helper (medians, a tail
of the binomial) counts for whoever called it; what belongs to no detector (state, records, the history) is "the rest".
Instrumenting every call instead would make small functions look dear: a sample costs a few microseconds, whatever is
running. Only the main thread can be sampled, and not on Windows.
"""

import signal
from collections import Counter
from collections.abc import Mapping
from types import FrameType, MappingProxyType, TracebackType

EVERY_S = 0.001
STAGE = "pipeline/stages/detection.py"
REST = "the rest"

FILES: Mapping[str, str] = MappingProxyType(
    {
        "detectors/arima.py": "arima",
        "detectors/arima_fit.py": "arima",
        "detectors/kalman.py": "arima",
        "detectors/seasonal.py": "arima",
        "pipeline/judging/season.py": "arima",
        "detectors/threshold.py": "arima",
        "pipeline/judging/baseline.py": "cusum",
        "detectors/counts.py": "counts, accumulated",
        "pipeline/judging/limits.py": "counts, accumulated",
        "pipeline/judging/combination.py": "isolation_forest",
        "detectors/isolation_forest.py": "isolation_forest",
        "detectors/isolation_trees.py": "isolation_forest",
        "pipeline/judging/organisations.py": "organisation, share",
        "pipeline/judging/parts.py": "part, elsewhere",
        "pipeline/judging/pace.py": "pace",
        "pipeline/judging/price.py": "price",
        "pipeline/judging/sudden.py": "sequential (fast path)",
        "detectors/sequential.py": "sequential (fast path)",
        "detectors/pelt.py": "breaks (PELT)",
    }
)
"""Whose time a file's is, by the names of `replay.scenarios.ablation`. The levels of the last hours are the CUSUM's,
though forecasts are held against them too; the profiles are the forecasts'; a hard limit is a comparison in the counts'
file, and silence one in the fast path's."""

FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "_us_per_output_token": "pace",
        "_of_pace": "pace",
        "_newest_break": "breaks (PELT)",
        "_of_all": "isolation_forest",
    }
)
"""Of files that serve several."""


class Sampler:
    """A context in which detection's time is sampled; `samples` by detector afterwards."""

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()

    def __enter__(self) -> "Sampler":
        self._before = signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, self._before)

    def _look(self, number: int, frame: FrameType | None) -> None:
        if (whose := owner(frame)) is not None:
            self.samples[whose] += 1

    def shares(self) -> dict[str, float]:
        """Of detection's time, by detector; they add up to 1. Nothing sampled: none."""
        total = self.samples.total()
        return {name: count / total for name, count in self.samples.most_common()}


def owner(frame: FrameType | None) -> str | None:
    """The detector whose code runs, or REST; None outside of detection."""
    found: str | None = None
    while frame is not None:
        path = frame.f_code.co_filename
        if found is None:
            found = FUNCTIONS.get(frame.f_code.co_name) or FILES.get("/".join(path.split("/")[-3:]))
            found = found or FILES.get("/".join(path.split("/")[-2:]))
        if path.endswith(STAGE):
            return found or REST
        frame = frame.f_back
    return None
