"""Leaving one detector out takes its findings, all of them, and nobody else's."""

from pipeline.judging.families import OWN
from pipeline.judging.findings import REASONS
from pipeline.judging.sudden import SEQUENTIAL
from replay.scenarios.ablation import LEFT_OUT, silenced
from topics.control import Relayed
from topics.links import Sudden
from topics.records import Anomaly, Judged, MetricWindow
from topics.traffic import Tick

WINDOW = MetricWindow(
    id="w", time_us=60, model="m", start_us=0, end_us=60, revision=0, requests=1, completions=1, errors=0,
    error_rate=0.0, input_tokens=1, output_tokens=1, tokens_per_s=1.0, cost_microusd=1,
)  # fmt: skip


def anomaly(detector: str) -> Anomaly:
    return Anomaly(
        id=detector, time_us=60, model="m", window_start_us=0, metric="error_rate", detector=detector, score=0.9,
        actual=1.0, expected=0.0, low=0.0, high=0.1, explanation="",
    )  # fmt: skip


def test_every_detector_can_be_left_out_once() -> None:
    named = [detector for group in LEFT_OUT.values() for detector in group]
    assert sorted(named) == sorted({*REASONS, *OWN, SEQUENTIAL, "isolation_forest", "pelt"})


def test_its_findings_are_gone_and_all_else_stays() -> None:
    judged = Judged(
        id="j", time_us=60, window=WINDOW, anomalies=[anomaly("arima"), anomaly("limit")], breaks=["error_rate"]
    )
    sudden = Sudden(model="m", time_us=10, anomalies=[anomaly(SEQUENTIAL)], started_us=[0])
    events = [judged, sudden, Relayed(offset=0, event=Tick(time_us=1))]

    def kept(name: str) -> list[object]:
        return list(silenced(events, LEFT_OUT[name]))

    assert kept("arima") == [
        Judged(id="j", time_us=60, window=WINDOW, anomalies=[anomaly("limit")], breaks=["error_rate"]),
        *events[1:],
    ]
    assert kept("sequential (fast path)") == [judged, events[2]]
    assert kept("breaks (PELT)") == [Judged(id="j", time_us=60, window=WINDOW, anomalies=judged.anomalies), *events[1:]]
    assert kept("price") == events
