"""What a window's witnesses come to together, and what is no witness of its own."""

import pytest
from msgspec.structs import replace

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


def test_the_forest_adds_nothing_to_what_it_has_seen() -> None:
    whose = next(one for one in FAMILIES if one.name == "latency")
    alone = judged("p", 0, score=0.6)
    rare = [anomaly for anomaly in judged("c", 0, score=0.6).anomalies if anomaly.detector == "isolation_forest"]
    assert rare
    assert evidence.of(whose, replace(alone, anomalies=[*alone.anomalies, *rare])) == evidence.of(whose, alone) > 0


def test_fewer_requests_and_shorter_answers_are_no_evidence_of_too_many_tokens() -> None:
    whose = next(one for one in FAMILIES if one.name == "tokens")
    surge, fewer, shorter = judged("t", 0, score=0.6), judged("d", 0, score=0.6), judged("w", 0, score=0.6)
    fallen = [one for other in (fewer, shorter) for one in other.anomalies if one.actual < one.expected]
    assert {one.metric for one in fallen} >= {"requests", "duration_us_p50"}
    assert evidence.of(whose, replace(surge, anomalies=[*surge.anomalies, *fallen])) == evidence.of(whose, surge) > 0
