"""Every law over every detector: whatever subclasses `Detector` inside the package is tested here by being there."""

import importlib
import inspect
import math
import pkgutil
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import detectors
from detectors.base import Detector, Verdict

MINUTE_US = 60_000_000
HALF_HOUR_US = 30 * MINUTE_US


def discovered() -> list[type[Detector[Any, Any]]]:
    for module in pkgutil.iter_modules(detectors.__path__):
        importlib.import_module(f"detectors.{module.name}")
    return sorted((c for c in _subclasses(Detector) if not inspect.isabstract(c)), key=lambda c: c.__name__)


def _subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def params_of(cls: type[Detector[Any, Any]]) -> Any:
    return cls.__init__.__annotations__["params"]()


def lift_counts(_: int, v: float | None) -> tuple[int, int] | None:
    return None if v is None or not math.isfinite(v) else (int(min(abs(v), 1e9)), int(min(abs(v), 1e9)) + 1000)


LIFTS: dict[str, Callable[[int, float | None], Any]] = {
    "value": lambda i, v: v,
    "vector": lambda i, v: (v, None if v is None else 0.5 * v + i % 3),
    "counts": lift_counts,
    "point": lambda i, v: (i * HALF_HOUR_US, v),  # so that time of day plays its part within 200 rows
}


def noise(n: int, seed: int = 1, level: float = 20.0, sigma: float = 2.0) -> list[float | None]:
    rng = random.Random(seed)
    return [level + rng.gauss(0.0, sigma) for _ in range(n)]


def gappy(n: int) -> list[float | None]:
    rng = random.Random(5)
    return [None if rng.random() < 0.3 else v for v in noise(n)]


SERIES: dict[str, list[float | None]] = {
    "noise": noise(260),
    "zeros": [0.0] * 120,
    "constant": [7.25] * 120,
    "nothing": [None] * 60,
    "gaps": gappy(200),
    "not finite": [math.nan if i % 3 == 0 else (math.inf if i % 7 == 0 else 4.0 + i % 5) for i in range(150)],
    "negative": [-5.0 - i % 4 for i in range(120)],
    "spikes": [1e9 if i % 50 == 49 else 3.0 + i % 2 for i in range(220)],
    "huge": [1e300 * (-1) ** i for i in range(90)],
    "tiny": [1e-300 * (i % 3) for i in range(90)],
    "step": [float(i % 3) if i < 80 else 1000.0 + i % 3 for i in range(180)],
    "ramp": [float(i) for i in range(150)],
    "mostly zero": [float(i % 40 == 0) for i in range(200)],
    "zero, then alive": [0.0 if i < 70 else 5.0 + i % 4 for i in range(150)],
}

DETECTORS = discovered()
# A point detector remembers 600 blocks of 20 rows, a witness 300 of 10.
LONG_MEMORY = {"Witness": 1600, "CountWitness": 1600}

each_detector = pytest.mark.parametrize("cls", DETECTORS, ids=lambda c: c.__name__)


def run(detector: Detector[Any, Any], values: list[float | None], start: int = 0) -> list[Verdict]:
    lift = LIFTS[detector.kind]
    return [detector.step(lift(start + i, v)) for i, v in enumerate(values)]


def test_the_package_has_detectors_of_every_kind() -> None:
    assert {cls.kind for cls in DETECTORS} == set(LIFTS)


@each_detector
@pytest.mark.parametrize("name", SERIES)
def test_scores_are_finite_fractions_and_not_ready_means_silent(cls: type[Detector[Any, Any]], name: str) -> None:
    for verdict in run(cls(params_of(cls)), SERIES[name]):
        assert 0.0 <= verdict.score <= 1.0
        assert all(math.isfinite(v) for v in (verdict.sigmas, verdict.expected or 0.0, verdict.low or 0.0))
        assert verdict.ready or (verdict.score == 0.0 and not verdict.anomalous)


@each_detector
def test_the_first_window_is_never_judged(cls: type[Detector[Any, Any]]) -> None:
    assert not cls(params_of(cls)).score(LIFTS[cls.kind](0, 1e6)).ready


@each_detector
def test_a_missing_window_is_never_judged(cls: type[Detector[Any, Any]]) -> None:
    detector = cls(params_of(cls))
    run(detector, SERIES["noise"])
    assert not detector.score(LIFTS[cls.kind](260, None)).ready


@each_detector
def test_scores_of_a_prefix_are_the_prefix_of_the_scores(cls: type[Detector[Any, Any]]) -> None:
    whole = run(cls(params_of(cls)), SERIES["spikes"])
    assert run(cls(params_of(cls)), SERIES["spikes"][:130]) == whole[:130]


@each_detector
def test_score_changes_nothing(cls: type[Detector[Any, Any]]) -> None:
    asked, silent = cls(params_of(cls)), cls(params_of(cls))
    run(asked, SERIES["noise"][:70])
    run(silent, SERIES["noise"][:70])
    for probe in (1e9, -3.0, 20.0, None):
        asked.score(LIFTS[cls.kind](70, probe))
    assert msgspec.json.encode(asked.state) == msgspec.json.encode(silent.state)


@each_detector
@pytest.mark.parametrize(("name", "cut"), [("noise", 1), ("noise", 30), ("gaps", 95), ("step", 85), ("spikes", 181)])
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(cls: type[Detector[Any, Any]], name: str, cut: int) -> None:
    values = SERIES[name]
    whole = run(cls(params_of(cls)), values)
    before = cls(params_of(cls))
    run(before, values[:cut])
    stored = msgspec.json.encode(before.to_state())
    state = msgspec.json.decode(stored, type=type(before.state))
    after = type(before)(params_of(cls), state)  # type: ignore[call-arg]
    assert run(after, values[cut:], start=cut) == whole[cut:]


@each_detector
def test_state_stays_bounded(cls: type[Detector[Any, Any]]) -> None:
    detector, sizes = cls(params_of(cls)), []
    rows = LONG_MEMORY.get(cls.__name__, 6500 if cls.kind == "point" else 260)
    minutes = (lambda i, v: (i * MINUTE_US, v)) if cls.kind == "point" else LIFTS[cls.kind]
    for round_ in range(3):
        for i, value in enumerate(noise(rows, seed=round_), start=rows * round_):
            detector.step(minutes(i, value))
        sizes.append(len(msgspec.json.encode(detector.state)))
    assert sizes[2] <= sizes[1] * 1.05
    assert sizes[2] < 250_000


@each_detector
def test_a_large_step_is_found_within_eight_windows(cls: type[Detector[Any, Any]]) -> None:
    detector = cls(params_of(cls))
    run(detector, noise(200))
    assert any(v.anomalous for v in run(detector, noise(8, seed=2, level=80.0), start=200))


@each_detector
def test_white_noise_raises_few_alarms(cls: type[Detector[Any, Any]]) -> None:
    verdicts = [v for seed in range(3) for v in run(cls(params_of(cls)), noise(340, seed=seed))]
    judged = [v for v in verdicts if v.ready]
    assert len(judged) >= 600
    assert sum(v.anomalous for v in judged) <= 0.05 * len(judged)
