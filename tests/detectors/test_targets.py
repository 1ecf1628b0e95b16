"""The evaluation of watched systems: its rules on rows made by hand, the whole command on small recorded systems."""

import csv
import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detectors import systems, targets
from detectors.judge_targets import DAY_US, Judged, Split, chosen, false_episodes, judge_shop, outcomes, quiet_rows
from detectors.systems import MINUTE_US, Fault, Services, Stream

START = datetime(2024, 5, 1, 6, 0, 19, tzinfo=UTC)
FAULT_ROWS = 3


def judged(system: list[float], ranking: list[str]) -> list[Judged]:
    return [Judged(i * MINUTE_US, s, lambda e, r: 0.0, lambda at: ranking) for i, s in enumerate(system)]


def fault(first: int, last: int, target: str = "a") -> Fault:
    return Fault(f"f{first}", first * MINUTE_US, last * MINUTE_US, "cpu", target)


#  row      0 1 2 3 4 5 6 7 8 9
#  fault        x x x
#  system   0 9 0 4 6 0 0 0 0 0
@pytest.mark.parametrize(("threshold", "delay_rows"), [(3.0, 1), (5.0, 2), (7.0, None)])
def test_a_fault_is_hit_by_a_row_within_it(threshold: float, delay_rows: int | None) -> None:
    rows = judged([0, 9, 0, 4, 6, 0, 0, 0, 0, 0], ["a", "b"])
    found = outcomes(rows, Split([(fault(2, 4), [2, 3, 4])], []), threshold, {"f2": True})[0]
    assert found.delay_us == (None if delay_rows is None else delay_rows * MINUTE_US)
    assert found.named_at_once == found.named_by_end == (delay_rows is not None)


def test_another_name_first_is_a_hit_that_is_not_named() -> None:
    found = outcomes(judged([9, 9, 9], ["b", "a"]), Split([(fault(0, 2), [0, 1, 2])], []), 5.0, {"f0": False})[0]
    assert (found.delay_us, found.named_at_once, found.shown) == (0, False, False)


def test_the_threshold_is_the_most_sensitive_within_the_noise_budget() -> None:
    """600 quiet rows are 10 hours: one false episode is within the budget of 0.1 an hour, two are not."""
    system = [0.0] * 600
    system[100], system[300] = 5.0, 3.0
    day = Split([], list(range(600)))
    assert [false_episodes(judged(system, []), day, t) for t in (1.0, 3.0, 5.0)] == [2, 1, 0]
    assert chosen(judged(system, []), day, [1.0, 2.0, 3.0, 4.0]) == 3.0
    assert chosen(judged(system, []), Split([], list(range(300))), [1.0, 2.0]) == 2.0


def test_quiet_rows_begin_ten_minutes_after_the_last_fault_of_a_day_with_faults() -> None:
    rows = [(day * DAY_US + i * MINUTE_US, {}) for day in (0, 1) for i in range(40)]
    data = Services(Stream(rows, frozenset()), [fault(1, 4), fault(10, 13)], [])
    assert quiet_rows(data) == list(range(24, 40))


def test_an_issue_is_ranked_where_its_symptom_first_comes_close_to_its_greatest() -> None:
    strengths = [0.0, 5.0, 9.2, 10.0]
    rows = [
        Judged(i, 0.0, lambda e, r, s=s: s, lambda at, i=i: ["b", "a"] if i < 2 or at is None else ["a"])
        for i, s in enumerate(strengths)
    ]
    result = judge_shop([(Fault("x", 0, 3, "delay", "a", ("web", "latency")), rows)])
    assert (result["first_symptom"], result["first_everywhere"], result["first3_everywhere"]) == (1, 0, 1)
    assert result["ranks"][0]["row"] == 2


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as out:
        table = csv.DictWriter(out, rows[0])
        table.writeheader()
        table.writerows(rows)


def write_labels(path: Path, labels: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(label) + "\n" for label in labels))


def small_services(directory: Path) -> None:
    """web calls cart and search; on each of two days either takes 80 % CPU for three rows, from row 80 and 120 on."""
    rng = random.Random(7)
    metrics, entry, calls, faults = [], [], [], []
    for day in range(2):
        for i in range(400):
            at = START + timedelta(days=day, minutes=i)
            stamp = at.strftime("%Y-%m-%d %H:%M:%S")
            busy = {80: "cart", 120: "search"}.get(i - i % 40) if i % 40 < FAULT_ROWS else None
            if busy and i % 40 == 0:
                ends = {"start": stamp, "end": (at + timedelta(minutes=2)).strftime("%Y-%m-%d %H:%M:%S")}
                faults.append({**ends, "kind": "cpu_contention", "target": busy})
            for name in ("web", "cart", "search"):
                cpu = 80.0 if name == busy else rng.gauss(20.0, 1.0)
                metrics.append({"timestamp": stamp, "service": name, "cpu_pct": cpu, "ops_per_s": rng.gauss(9.0, 0.2)})
            entry.append(
                {"timestamp": stamp, "success_pct": "" if i == 5 else 100}
                | dict.fromkeys(
                    ("latency_p50_s", "latency_p90_s", "latency_p95_s", "latency_p99_s"), rng.gauss(0.2, 0.01)
                )
            )
            for name in ("cart", "search"):
                p50 = rng.gauss(0.05, 0.002)
                calls.append(
                    {
                        "timestamp": stamp,
                        "caller": "web",
                        "callee": name,
                        "p50_at_caller_s": p50 + 0.002,
                        "p50_at_callee_s": p50,
                    }
                )
    for name, rows in (("metrics", metrics), ("entry", entry), ("calls", calls)):
        write(directory / "services" / f"{name}.csv.gz", rows)
    write_labels(directory / "services" / "faults.jsonl", faults)


def small_shop(directory: Path) -> None:
    """web calls cart; months later cart is slow, and web with it, in the third and fourth of five windows."""
    rng = random.Random(8)

    def windows(start: datetime, count: int, slow: range, of: dict[str, str]) -> list[dict[str, Any]]:
        rows = []
        for i in range(count):
            for name, base in (("web", 0.2), ("cart", 0.1), ("search", 0.1)):
                base += 0.4 if i in slow and name != "search" else 0.0
                lat = {
                    f"latency_{q}_s": base * rng.gauss(k, 0.02)
                    for q, k in (("mean", 1), ("p50", 1), ("p90", 2), ("p95", 3), ("p99", 4))
                }
                stamp = (start + timedelta(minutes=5 * i)).strftime("%Y-%m-%d %H:%M:%S")
                rows.append(
                    {
                        **of,
                        "load": "high",
                        "timestamp": stamp,
                        "component": name,
                        **lat,
                        "requests": rng.randint(90, 110),
                        "availability_pct": 100,
                    }
                )
        return rows

    write(directory / "shop" / "normal.csv.gz", windows(START, 150, range(0), {}))
    later = START + timedelta(days=100)
    write(directory / "shop" / "issues.csv.gz", windows(later, 5, range(2, 4), {"issue": "i-0"}))
    write(directory / "shop" / "edges.csv", [{"load": "high", "from": "web", "to": n} for n in ("cart", "search")])
    symptom = {"component": "web", "metric": "latency"}
    ends = {
        "start": later.strftime("%Y-%m-%d %H:%M:%S"),
        "end": (later + timedelta(minutes=25)).strftime("%Y-%m-%d %H:%M:%S"),
    }
    write_labels(
        directory / "shop" / "issues.jsonl",
        [{"issue": "i-0", **ends, "kind": "delay", "target": "cart", "symptom": symptom}],
    )


def test_the_command_finds_and_names_what_was_laid_into_small_systems(tmp_path: Path) -> None:
    small_services(tmp_path)
    small_shop(tmp_path)
    targets.main(tmp_path, output=tmp_path / "out.json")
    report = json.loads((tmp_path / "out.json").read_text())
    watch = report["services"]["watch"]
    assert (watch["faults"], watch["hit"], watch["shown"], watch["false_episodes"]) == (4, 4, 4, 0)
    assert (watch["named_at_once"], watch["named_by_end"]) == (4, 4)
    assert watch["delay_min_max"] == 1.0
    shop = report["shop"]["watch"]
    assert (shop["issues"], shop["first_symptom"], shop["first3_symptom"]) == (1, 1, 1)


def test_unreadable_systems_are_refused_by_name(tmp_path: Path) -> None:
    small_services(tmp_path)
    row = {"timestamp": "2024-05-01 06:00:19", "p50_at_caller_s": 1, "p50_at_callee_s": 1}
    write(
        tmp_path / "services" / "calls.csv.gz", [{**row, "caller": a, "callee": b} for a, b in (("a", "b"), ("b", "a"))]
    )
    with pytest.raises(ValueError, match="one service that no other calls"):
        systems.services(tmp_path)


def test_every_varied_parameter_exists_and_changes_what_it_names() -> None:
    for label, changes in targets.variations():
        assert targets.configured(changes) != targets.configured({}), label
