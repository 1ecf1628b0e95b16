"""Whose time a sample of the processor's is, and that sampling a real run finds the detectors at work."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.stage import Batch, State
from pipeline.stages.detection import Detection, DetectionParams
from replay.scenarios.ablation import LEFT_OUT
from replay.scenarios.cost import FILES, FUNCTIONS, REST, Sampler, owner
from tests.streams.minutes import windows

STAGE = "/somewhere/pipeline/stages/detection.py"


def stack(*calls: tuple[str, str]) -> Any:
    """A frame, its callers outermost first: (file, function)."""
    frame = None
    for path, name in calls:
        frame = SimpleNamespace(f_code=SimpleNamespace(co_filename=path, co_name=name), f_back=frame)
    return frame


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (((STAGE, "step"), ("/x/pipeline/judging/look.py", "f"), ("/x/detectors/kalman.py", "f")), "arima"),
        (((STAGE, "step"), ("/x/pipeline/judging/baseline.py", "f"), ("/x/detectors/rows.py", "g")), "cusum"),
        (((STAGE, "step"), (STAGE, "_of_pace"), ("/x/pipeline/judging/metrics.py", "f")), "pace"),
        (((STAGE, "step"), ("/x/pipeline/judging/history.py", "recent")), REST),
        ((("/x/pipeline/stages/alerting.py", "step"), ("/x/detectors/counts.py", "f")), None),
    ],
    ids=["its own file", "a helper's caller", "a function", "nobody's", "not in detection"],
)
def test_a_sample_belongs_to_the_innermost_detector(calls: Any, expected: str | None) -> None:
    assert owner(stack(*calls)) == expected


def test_every_name_is_one_that_can_be_left_out() -> None:
    assert {*FILES.values(), *FUNCTIONS.values()} <= set(LEFT_OUT)


def test_a_run_is_sampled() -> None:
    events = windows(3, 400)
    with Sampler() as sampler:
        Detection(DetectionParams()).step(State(), Batch(0, 1, range(len(events)), events))
    shares = sampler.shares()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["arima"] > 0.05
    assert Sampler().shares() == {}
