"""Measures the fast path on real recordings: `python -m tests.stages.fast_recordings RECORDING...` (some minutes each).

Each recording is replayed without incidents (what rings there is false), then with incidents of three minutes injected
every eight minutes or so on one model: all its answers fail, or all its requests stay away; for each model and three
shifts of the onset. Told is a finding of the fast path; an alert that is open needs no other. Delays are of event time,
from onset to when the watermark (5 s of lateness) lets the ten seconds go.
Arrivals and tokens are the recording's own, split over three models as `tidegate replay` does; answers are modelled.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.judging.sudden import SEQUENTIAL
from pipeline.settings import Settings
from replay.incidents import Incident
from replay.inject import Injector
from replay.offline import Offline
from replay.sources import Source, open_source
from topics.fields import MINUTE_US, SECOND_US
from topics.records import Alert, Anomaly

STAGES = ("relay", "slices", "windows", "detection", "alerting")
KINDS = {"error_burst": 1.0, "traffic_drop": 1.0}
FIRST_US, EVERY_US, LASTS_US = 15 * MINUTE_US, 8 * MINUTE_US + 3_700_000, 3 * MINUTE_US
SHIFTS_US = (0, 3_300_000, 7_700_000)
LATENESS_US = 5 * SECOND_US
AFTER_US = MINUTE_US


def run(source: Source, incidents: list[Incident]) -> tuple[list[Alert], list[Anomaly]]:
    """All steps of all alerts, and what the fast path found, up to the recording's last request."""
    found: dict[str, list[Any]] = {"alerts": [], "anomalies": []}
    driver = Offline(Settings(), lambda to, _, value: found.get(to, []).append(value), 4, STAGES)
    driver.feed(Injector(incidents, seed=3).apply(source.events()))
    driver.finish()
    alerts = [alert for alert in found["alerts"] if alert.time_us <= source.end_us]
    return alerts, [one for one in found["anomalies"] if one.detector == SEQUENTIAL]


def planned(source: Source, kind: str, model: str, shift_us: int) -> list[Incident]:
    begins = range(source.start_us + FIRST_US + shift_us, source.end_us - LASTS_US - MINUTE_US, EVERY_US)
    return [Incident(kind, at_us, at_us + LASTS_US, model, KINDS[kind]) for at_us in begins]


def measure(source: Source) -> None:
    quiet, _ = run(source, [])
    opened = [alert for alert in quiet if alert.status == "open" and alert.provisional]
    hours = source.duration_us / (60 * MINUTE_US) * len(source.models)
    sys.stdout.write(f"{source.name}: {len(opened)} provisional alerts in {hours:.1f} quiet model-hours\n")
    for alert in opened:
        sys.stdout.write(f"  {alert.summary}\n")
    for kind in KINDS:
        for model in source.models:
            report(source, kind, model)


def report(source: Source, kind: str, model: str) -> None:
    delays: list[float] = []
    fates: dict[str, int] = defaultdict(int)
    others = 0
    for shift_us in SHIFTS_US:
        incidents = planned(source, kind, model, shift_us)
        steps, findings = run(source, incidents)
        raised = [alert for alert in steps if alert.status == "open" and alert.provisional]
        ends = {alert.alert: alert.status for alert in steps}
        confirmed = {alert.alert for alert in steps if alert.status == "update" and not alert.provisional}
        for one in incidents:
            times_us = [a.time_us for a in findings if a.model == model and one.start_us <= a.time_us <= one.end_us]
            delays.append((times_us[0] + LATENESS_US - one.start_us) / SECOND_US if times_us else np.inf)
        for alert in raised:
            fates["confirmed" if alert.alert in confirmed else ends[alert.alert]] += 1
            within = any(i.start_us <= alert.time_us <= i.end_us + AFTER_US for i in incidents)
            others += alert.model != model or not within
    found = np.array(delays)
    rate = sum(1 for event in source.events() if getattr(event, "model", "") == model) / 2 / source.duration_us * 1e6
    told = "".join(f", p{q} {np.quantile(found, q / 100, method='lower'):.1f} s" for q in (10, 50, 90))
    sys.stdout.write(
        f"  {kind} on {model} ({rate:.1f}/s): {np.isfinite(found).sum()} of {len(found)} told, "
        f"{np.mean(found <= 15.0):.0%} within 15 s{told}; {dict(fates)}; {others} elsewhere\n"
    )


def main() -> None:
    for path in sys.argv[1:]:
        measure(open_source(Path(path), seed=1))


if __name__ == "__main__":
    main()
