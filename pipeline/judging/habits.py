"""Who comes and goes? Organisations that send in runs, as batch jobs do: their coming and going is no incident.

Of every organisation that a window names, its share s of all that it names and its tokens, as fading means r of the
last windows (half-life `recent`). Shares, since an outage of all, or a night, leaves them as they are:

    a run begins   r(s) > `factor` · low and r(s) ≥ `share_min`       low: its share between runs (half-life `between`)
    and ends       r(s) < high / `factor`                             high: its share in this run (half-life `between`)

A run that lasted `lasts` windows leaves its mean and its peak in tokens, of which the last RUNS_MAX are kept. Once
there are `runs_min` of them, coming and going is its habit: a surge up to `times` the peak that so many runs had is
usual, and so is that a run ends. A first time, and far more than it ever used, stay incidents. The peak is that of the
means r, since r is what a surge is judged by: jobs are bursty, and a few windows of a run often bring twice its mean.

Trade-off: who comes and goes can break down for good, and only its owner notices; and abuse in runs, if it was let be,
is told of `runs_min` times.

>>> habits, job = Habits(), OrganisationTokens("job", 0)
>>> def minute(tokens): return [OrganisationTokens("all others", 9_000), OrganisationTokens("job", tokens)]
>>> for _ in range(3):
...     for tokens in [100] * 60 + [6_000] * 60: take_in(habits, minute(tokens), HabitParams())
>>> usual_end(habits, "job", minute(100), HabitParams()), usual_end(habits, "all others", minute(100), HabitParams())
(True, False)
>>> for tokens in (100, 7_000, 7_000, 7_000): take_in(habits, minute(tokens), HabitParams())
>>> usual_surge(habits, "job", HabitParams())
True
>>> for tokens in (20_000, 20_000, 20_000): take_in(habits, minute(tokens), HabitParams())
>>> usual_surge(habits, "job", HabitParams())
False
"""

from collections.abc import Sequence

from msgspec import Struct

from pipeline.judging.causes import ORGANISATION, CauseParams, Shares
from pipeline.judging.causes import explain as attributed
from pipeline.judging.families import Family, leading
from pipeline.tallies import PARTS_MAX
from topics.records import Judged, OrganisationTokens

RUNS_MAX = 8
ORGANISATIONS_MAX = 64


class HabitParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Half-lives and `lasts` in windows; `share_min` of the tokens named."""

    recent: float = 3.0
    between: float = 60.0
    factor: float = 3.0
    share_min: float = 0.05
    lasts: int = 20
    runs_min: int = 2
    times: float = 2.0

    def __post_init__(self) -> None:
        if min(self.recent, self.between) <= 0.0 or self.factor <= 1.0 or not 1 <= self.runs_min <= RUNS_MAX:
            raise ValueError(f"habits: half-lives above 0, factor above 1, runs_min in 1..{RUNS_MAX}")


class Run(Struct, frozen=True):
    """Tokens a window in a run that is over: its mean, and the highest mean of its last windows."""

    mean: float
    peak: float


class Habit(Struct):
    """Means of the last windows, share and tokens; `high` is 0 between runs; the present run's windows, `used` tokens
    and `peak`; `runs`: the last ones that are over."""

    share: float
    tokens: float
    low: float
    high: float = 0.0
    windows: int = 0
    used: float = 0.0
    peak: float = 0.0
    runs: list[Run] = []


class Habits(Struct, tag="habits"):
    """Of one model: the organisations last named, most recently named last."""

    known: dict[str, Habit] = {}


def take_in(habits: Habits, named: Sequence[OrganisationTokens], params: HabitParams) -> None:
    """One window more; one without tokens says nothing. Those not named for longest are forgotten first."""
    total = sum(one.tokens for one in named)
    if not total:
        return
    tokens = {one.organisation: one.tokens for one in named}
    weights = (_weight(params.recent), _weight(params.between))
    unnamed = min(tokens.values()) if len(tokens) >= PARTS_MAX else 0
    for organisation, habit in habits.known.items():
        if organisation not in tokens:
            _follow(habit, min(unnamed, habit.tokens), total, weights, params)
    before = unnamed if habits.known else total  # in the first window nobody is new
    for organisation, used in tokens.items():
        least = min(before, used)
        known = habits.known.pop(organisation, None) or Habit(least / total, least, least / total)
        _follow(known, used, total, weights, params)
        habits.known[organisation] = known
    for organisation in list(habits.known)[:-ORGANISATIONS_MAX]:
        del habits.known[organisation]


def usual_surge(habits: Habits, organisation: str, params: HabitParams) -> bool:
    """Whether as many tokens as it has used in the last windows are what this organisation comes with."""
    habit = habits.known.get(organisation)
    if habit is None or len(habit.runs) < params.runs_min:
        return False
    return habit.tokens <= params.times * sorted(run.peak for run in habit.runs)[-params.runs_min]


def usual_end(habits: Habits, organisation: str, named: Sequence[OrganisationTokens], params: HabitParams) -> bool:
    """Whether this window is one in which a run of it is over, or ends, as others have before."""
    habit = habits.known.get(organisation)
    if habit is None or len(habit.runs) < params.runs_min:
        return False
    now = next((one.tokens for one in named if one.organisation == organisation), 0)
    return now < max(run.mean for run in habit.runs) / params.factor


def explain(
    habits: Habits, shares: Shares, family: Family, judged: Judged, params: HabitParams, attributing: CauseParams
) -> bool:
    """Whether all that this window says for the family is that organisations come and go as they have before."""
    leads, window = leading(family, judged), judged.window
    if family.name not in ("tokens", "traffic") or any(lead.detector == "price" for lead in leads):
        return False
    if not any(len(habit.runs) >= params.runs_min for habit in habits.known.values()):
        return False
    whose = {lead.organisation for lead in leads if lead.organisation}
    if not whose:
        causes = attributed(shares, family, "", window.model, None, "", attributing)
        whose = {cause.value for cause in causes if cause.dimension == ORGANISATION}
    if family.name == "traffic":
        return bool(whose) and all(usual_end(habits, one, window.top_organisations, params) for one in whose)
    return bool(whose) and all(usual_surge(habits, one, params) for one in whose)


def _weight(half_life: float) -> float:
    return float(1.0 - 0.5 ** (1.0 / half_life))


def _follow(habit: Habit, tokens: float, total: int, weights: tuple[float, float], params: HabitParams) -> None:
    quickly, slowly = weights
    habit.share += quickly * (tokens / total - habit.share)
    habit.tokens += quickly * (tokens - habit.tokens)
    if habit.high == 0.0:
        if habit.share >= params.share_min and habit.share > params.factor * habit.low:
            habit.high, habit.windows, habit.used, habit.peak = habit.share, 0, 0.0, habit.tokens
        else:
            habit.low += slowly * (habit.share - habit.low)
        return
    habit.windows, habit.used, habit.peak = habit.windows + 1, habit.used + tokens, max(habit.peak, habit.tokens)
    habit.high = max(habit.high + slowly * (habit.share - habit.high), habit.share)
    if habit.share < habit.high / params.factor:
        if habit.windows >= params.lasts:
            habit.runs = [*habit.runs, Run(habit.used / habit.windows, habit.peak)][-RUNS_MAX:]
        habit.low, habit.high = habit.share, 0.0
