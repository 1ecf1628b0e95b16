"""What a backtest is made of: strips (one model, or one series), what happened on them, what was said about them.

A *strip* is a stretch of one thing over time: the windows of one model, or the rows of one series file. Its *panels*
are the metrics drawn under each other. An *event* is labelled truth, a *detection* is one alert (or one episode of
flagged rows), so both kinds of input are counted and drawn alike.
"""

from typing import Any, Literal

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

Kind = Literal["traffic", "windows", "slices", "series"]
Outcome = Literal["hit", "false", "after", "unjudged"]
"""`after`: shortly after an event, when recovery may be noticed: counted neither way. `unjudged`: there are no labels
for its input, or it lies in the warm-up."""

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


class Panel(Struct):
    """One metric of a strip, a point a window or row; NaN where nothing was measured or forecast. `marks`: the times
    at which a detector found something in it."""

    metric: str
    label: str  # with its unit
    times_us: Times
    values: Floats
    expected: Floats
    low: Floats
    high: Floats
    marks_us: list[int] = []


class Strip(Struct):
    """One model or series. `judged_from_us`: what lies before is warm-up, run but not scored. `step_us`: from one row
    to the next."""

    name: str
    source: str
    kind: Kind
    rows: int
    start_us: int
    end_us: int
    step_us: int
    judged_from_us: int
    labelled: bool
    panels: list[Panel]
    group: str = ""

    @property
    def days(self) -> float:
        """Time that is scored."""
        return max(self.end_us - self.judged_from_us, 0) / 86_400e6


class Event(Struct):
    """A labelled event. `delay_us` None: missed. `first`: the detectors that spoke first; `confirmed`: all that agreed.
    `named`: the kinds of the alerts that found it. `cause`: what is to blame, where the labels say so; `caused`:
    whether the first cause that the alerts name is that one (None: there is none to name, or it was missed)."""

    id: str
    kind: str
    target: str
    start_us: int
    end_us: int
    strips: list[str]
    difficulty: str = ""
    delay_us: int | None = None
    delay_rows: int | None = None
    found_by: list[str] = []
    named: list[str] = []
    first: list[str] = []
    confirmed: list[str] = []
    cause: str = ""
    caused: bool | None = None


class Detection(Struct):
    """An alert, or an episode of flagged rows. `end_us` None: open at the end. `episodes`: how many false episodes it
    counts as, one per started 60 rows."""

    id: str
    strip: str
    kind: str
    severity: str
    start_us: int
    end_us: int | None
    summary: str
    confirmations: list[str] = []
    outcome: Outcome = "unjudged"
    episodes: int = 1
    causes: list[str] = []  # dimension=value, the likeliest first
    provisional: bool = False  # opened by the fast path
    withdrawn: bool = False  # and taken back by the minutes


class Review(Struct):
    """A drift: a series is no longer what it was. For a person; neither right nor wrong. `time_us`, `row`: when it was
    told; `since_us`: where it began at the latest; `before`, `after`: mean strength of the loudest detector."""

    strip: str
    time_us: int
    row: int
    since_us: int
    before: float
    after: float
    summary: str


class Findings(Struct):
    """How often one detector spoke, in windows; `outside`: where no event was."""

    total: int = 0
    outside: int = 0


class Judgement(Struct):
    """All that one configuration made of the inputs."""

    strips: list[Strip] = []
    events: list[Event] = []
    detections: list[Detection] = []
    findings: dict[str, Findings] = {}
    scores: dict[str, Any] = field(default_factory=dict)  # strip name -> two_fold.Scored, of labelled series
    notes: list[str] = []
    drifts: list[Review] = []

    def add(self, other: "Judgement") -> None:
        """Take in what was made of another input."""
        self.strips += other.strips
        self.events += other.events
        self.detections += other.detections
        self.drifts += other.drifts
        self.notes += other.notes
        self.scores.update(other.scores)
        for name, found in other.findings.items():
            mine = self.findings.setdefault(name, Findings())
            mine.total += found.total
            mine.outside += found.outside
