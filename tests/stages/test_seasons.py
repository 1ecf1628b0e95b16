"""Detection over days: what a profile of the day silences, what it finds, and that it is claimed only once it is known.

Five models over two days and a half, judged with profiles and without.

    quiet     an ordinary service, low at night, four times as busy from nine to five, slower when busy
    growing   the same, 10 % more every day
    dropped   on the third morning, while traffic rises, half of the requests are missing for 20 minutes
    slower    on the third morning, before it rises, answers take 1.5 times as long for 20 minutes
    shifted   from noon of the second day on, all is 1.8 times as busy and 1.4 times as slow, for good
"""

from typing import Any, NamedTuple

import msgspec
import pytest

from pipeline.judging.track import TrackParams
from pipeline.stage import Batch, State
from pipeline.stages.detection import Detection, DetectionParams
from tests.streams.weeks import DAY_MINUTES, Effect, steady, windows
from topics.records import Anomaly, Judged

MINUTES = 5 * DAY_MINUTES // 2
THIRD_DAY = 2 * DAY_MINUTES
MORNING = range(THIRD_DAY + 360, THIRD_DAY + 660)
DROP = range(THIRD_DAY + 440, THIRD_DAY + 460)
SLOW = range(THIRD_DAY + 330, THIRD_DAY + 350)
SHIFT = DAY_MINUTES + 720


def during(span: range, requests: float, latency: float) -> Effect:
    return lambda minute: (requests, latency) if minute in span else (1.0, 1.0)


EFFECTS: dict[str, Effect] = {
    "quiet": steady,
    "growing": steady,
    "dropped": during(DROP, 0.5, 1.0),
    "slower": during(SLOW, 1.0, 1.5),
    "shifted": during(range(SHIFT, MINUTES), 1.8, 1.4),
}
STREAMS = [
    windows(number, MINUTES, effect, growth=0.1 if model == "growing" else 0.0, model=model)
    for number, (model, effect) in enumerate(EFFECTS.items())
]


class Run(NamedTuple):
    """By model and minute what was found; the state at each midnight, as a checkpoint has it; and at the end."""

    found: dict[str, list[list[Anomaly]]]
    midnights: dict[int, bytes]
    state: State[Any]

    def count(self, model: str, span: range, detector: str = "") -> int:
        found = (anomaly for minute in span for anomaly in self.found[model][minute])
        return sum(detector in ("", anomaly.detector) for anomaly in found)


def judged(seasonal: bool, start: int, state: State[Any]) -> Run:
    stage = Detection(DetectionParams(track=TrackParams(seasonal=seasonal)))
    found: dict[str, list[list[Anomaly]]] = {model: [[]] * start for model in EFFECTS}
    midnights: dict[int, bytes] = {}
    for minute in range(start, MINUTES):
        if minute % DAY_MINUTES == 0:
            midnights[minute] = msgspec.msgpack.encode(state.values)
        batch = Batch(0, 1, range(minute * len(STREAMS), (minute + 1) * len(STREAMS)), [s[minute] for s in STREAMS])
        for output in stage.step(state, batch):
            if type(output.value) is Judged:
                found[output.key].append(output.value.anomalies)
    return Run(found, midnights, state)


@pytest.fixture(scope="module")
def seasonal() -> Run:
    return judged(True, 0, State())


def at(midnight: int, run: Run) -> State[Any]:
    return State(msgspec.msgpack.decode(run.midnights[midnight], type=dict[str, Detection.values]))


@pytest.fixture(scope="module")
def plain(seasonal: Run) -> Run:
    """Without profiles from the second day on: on the first there is none, as a test below says."""
    return judged(False, DAY_MINUTES, at(DAY_MINUTES, seasonal))


def test_nothing_seasonal_is_claimed_on_the_first_day(seasonal: Run) -> None:
    known = at(DAY_MINUTES, seasonal).values
    assert not any(key.startswith("season/") for key in known)
    assert all(track.trust.weight == 0.0 for model in EFFECTS for track in known[f"filter/{model}"].tracks.values())
    assert any(key.startswith("season/") for key in seasonal.state.values)


@pytest.mark.parametrize("model", ["quiet", "growing"])
def test_an_ordinary_morning_is_quiet_once_the_day_is_known(model: str, seasonal: Run) -> None:
    first = range(MORNING.start - THIRD_DAY, MORNING.stop - THIRD_DAY)
    assert seasonal.count(model, first) > 20
    assert seasonal.count(model, MORNING) < 0.2 * seasonal.count(model, first)
    assert seasonal.count(model, MORNING, "cusum") == 0


def test_a_drop_that_a_rise_hides_is_found_above_the_profile(seasonal: Run, plain: Run) -> None:
    def found(run: Run) -> list[Anomaly]:
        return [a for minute in DROP for a in run.found["dropped"][minute] if a.metric == "requests"]

    assert len(found(plain)) <= 3
    assert len(found(seasonal)) >= 12


def test_expected_and_interval_are_those_of_the_season(seasonal: Run) -> None:
    usual = [window.requests for window in windows(2, MINUTES, model="dropped")]
    for minute in DROP:
        for anomaly in seasonal.found["dropped"][minute]:
            if anomaly.metric == "requests":
                assert anomaly.expected == pytest.approx(usual[minute], rel=0.25)
                assert anomaly.low < anomaly.expected < anomaly.high
                assert anomaly.actual < anomaly.low


def test_slowness_that_would_be_usual_at_noon_is_found_at_dawn(seasonal: Run) -> None:
    hit = [minute for minute in SLOW if any(a.metric == "duration_us_p50" for a in seasonal.found["slower"][minute])]
    assert len(hit) >= 15


def test_a_level_that_shifts_for_good_is_accepted_and_does_not_ring_the_next_day(seasonal: Run) -> None:
    assert seasonal.count("shifted", range(SHIFT, SHIFT + 30)) > 30
    assert seasonal.count("shifted", range(SHIFT + 240, MINUTES), "cusum") == 0
    assert seasonal.count("shifted", MORNING) < 20


def test_profiles_survive_a_checkpoint(seasonal: Run) -> None:
    again = judged(True, THIRD_DAY, at(THIRD_DAY, seasonal))
    for model in EFFECTS:
        assert again.found[model][THIRD_DAY:] == seasonal.found[model][THIRD_DAY:]
    assert msgspec.msgpack.encode(again.state.values) == msgspec.msgpack.encode(seasonal.state.values)


def test_state_of_a_model_is_some_kilobytes_a_day(seasonal: Run) -> None:
    sizes = {key: len(msgspec.msgpack.encode(value)) for key, value in seasonal.state.values.items()}
    own = {key: size for key, size in sizes.items() if "/quiet" in key}
    assert sum(own.values()) < 80_000
    assert max(own.values()) < 20_000
