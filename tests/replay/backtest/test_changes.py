"""Which false alarms of two configurations are the same: those that overlap, or lie at most ten minutes apart."""

from typing import Any

import pytest

from pipeline.settings import Settings
from replay.backtest.changes import compare
from replay.backtest.model import Detection, Judgement
from tests.replay.backtest.test_page import strip
from tests.replay.records import at


def judged(*spans: tuple[float, float | None], name: str = "one") -> Judgement:
    alerts = [
        Detection(f"{start}", name, "anomaly", "info", at(start), None if end is None else at(end), "", outcome="false")
        for start, end in spans
    ]
    return Judgement(strips=[strip("one"), strip("two")], detections=alerts)


@pytest.mark.parametrize(
    ("a", "b", "both", "only_a", "only_b"),
    [
        ([(50, 60)], [(55, 58)], 1, 0, 0),  # one lies in the other
        ([(50, 60)], [(70, 75)], 1, 0, 0),  # ten minutes apart
        ([(50, 60)], [(70.1, 75)], 0, 1, 1),
        ([(70.1, 75)], [(50, 60)], 0, 1, 1),
        ([(50, 200)], [(60, 61), (150, 151)], 1, 0, 0),  # one that A keeps open, B opens twice
        ([(60, 61), (150, 151)], [(50, 200)], 2, 0, 0),
        ([(50, 200), (60, 61)], [(190, 191)], 1, 1, 0),
        ([(50, None)], [(55, None)], 1, 0, 0),
        ([], [(50, 60)], 0, 0, 1),
    ],
)
def test_the_same_false_alarm(a: Any, b: Any, both: int, only_a: int, only_b: int) -> None:
    found = compare(judged(*a), judged(*b), Settings(), Settings())
    assert (found.false_in_both, len(found.false_only_in_a), len(found.false_only_in_b)) == (both, only_a, only_b)


def test_on_another_strip_it_is_another_alarm() -> None:
    found = compare(judged((50, 60)), judged((50, 60), name="two"), Settings(), Settings())
    assert (found.false_in_both, len(found.false_only_in_a), len(found.false_only_in_b)) == (0, 1, 1)
