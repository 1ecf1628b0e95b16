"""What a window's witnesses come to together, and what is no witness of its own."""

import pytest

from pipeline.judging import evidence
from pipeline.judging.families import FAMILIES
from tests.streams.alerting import judged


@pytest.mark.parametrize(
    ("family", "letter", "sources"),
    [("traffic", "d", 1), ("latency", "l", 1), ("errors", "r", 2), ("errors", "b", 3), ("latency", ".", 0)],
    ids=["tokens go with the requests", "two quantiles", "a region", "errors, limit, latency", "nothing"],
)
def test_each_source_counts_once(family: str, letter: str, sources: int) -> None:
    """Each finding is out by 1.5 times its threshold."""
    whose = next(one for one in FAMILIES if one.name == family)
    assert evidence.of(whose, judged(letter, 0, score=0.6)) == pytest.approx(1.5 * sources)
