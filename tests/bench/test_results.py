"""How figures are judged: medians against targets, and latencies that tell of the sender instead of Tidegate."""

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.open_loop import Latency
from bench.outcomes import described
from bench.processes import Moment, Shares
from bench.recovery import _read_back
from bench.results import Row, show, write
from bench.scale import _limit, worker_counts

LATENCY = Latency(
    rate=10_000,
    requests=600_000,
    p50_ms=2.0,
    p99_ms=8.0,
    p999_ms=20.0,
    max_ms=40.0,
    late_ms_p99=2.0,
    late_ms_p999=4.0,
    undecided=0,
    throttled=0,
    lag_first=100.0,
    lag_last=120.0,
    cores=0.3,
)


@pytest.mark.parametrize(
    ("values", "target", "better", "met"),
    [
        ([1.0, 9.0, 5.0], 5.0, "more", True),
        ([1.0, 9.0, 4.0], 5.0, "more", False),
        ([1.0, 9.0, 5.0], 5.0, "less", True),
        ([1.0, 9.0, 6.0], 5.0, "less", False),
        ([1.0], None, "more", None),
    ],
)
def test_the_median_is_held_against_the_target(values, target, better, met) -> None:  # type: ignore[no-untyped-def]
    assert Row(bench="b", what="w", values=values, unit="/s", target=target, better=better).is_met is met


def test_a_void_figure_neither_reaches_nor_misses() -> None:
    row = Row(bench="b", what="w", values=[1.0], unit="ms", target=5.0, better="less", is_void=True)
    assert row.is_met is None
    shown = io.StringIO()
    show(Console(file=shown, width=200), [row])
    assert "void" in shown.getvalue()
    assert "reached" not in shown.getvalue()


def test_a_late_sender_makes_a_latency_void() -> None:
    assert LATENCY.is_valid
    assert not replace(LATENCY, late_ms_p999=21.0).is_valid


def test_lag_grows_only_when_it_is_more_than_noise() -> None:
    assert not LATENCY.lag_grows
    assert not replace(LATENCY, lag_first=100.0, lag_last=5_000.0).lag_grows
    assert replace(LATENCY, lag_first=100.0, lag_last=5_200.0).lag_grows
    assert not replace(LATENCY, lag_first=20_000.0, lag_last=30_000.0).lag_grows


def test_shares_tell_what_others_used() -> None:
    before = Moment(at_s=10.0, worker_s=1.0, broker_s=2.0, ourselves_s=3.0, machine_s=100.0)
    after = Moment(at_s=12.0, worker_s=2.0, broker_s=3.0, ourselves_s=3.5, machine_s=103.0)
    assert after.shares_since(before) == Shares(worker=0.5, broker=0.5, ourselves=0.25, others=0.25)


def test_the_state_read_back_is_found_in_a_workers_log() -> None:
    log = "traffic/0: state restored up to offset 9: 120 keys in 0.5 s\nx\ntraffic/1: 30 keys in 1.2 s\n"
    assert _read_back(log) == (1.7, 150.0)
    assert _read_back("traffic/0: no state yet") == (0.0, 0.0)


def test_what_limits_several_workers() -> None:
    assert _limit(Shares(1.0, 1.9, 0.0, 0.0), 2, 4) == "the broker"
    assert _limit(Shares(2.0, 0.8, 0.0, 1.2), 2, 4) == "the machine's 4 cores"
    assert _limit(Shares(1.9, 0.5, 0.0, 0.0), 2, 4) == "the workers, each on a core of its own"
    assert _limit(Shares(1.9, 0.5, 0.0, 0.0), 4, 16).startswith("none")
    assert _limit(Shares(1.0, 0.5, 0.0, 0.0), 2, 4).startswith("none")


def test_more_than_two_workers_are_measured_where_each_has_two_cores() -> None:
    assert [worker_counts(cores) for cores in (1, 2, 6, 8, 64)] == [(1, 2), (1, 2), (1, 2), (1, 2, 4), (1, 2, 4, 8)]


def test_outcomes_in_words_tell_of_repeats() -> None:
    counts = Counter(admitted=990, blocked=10)
    assert described(counts, 1_000) == "admitted 99.0 %, blocked 1.0 %"
    assert described(counts, 998) == "admitted 99.0 %, blocked 1.0 %; 2 of 1,000 decided again"


def test_the_json_has_every_repeat_and_the_table_every_row(tmp_path: Path) -> None:
    rows = [
        Row(bench="quota", what="decisions/s", values=[3.0, 1.0, 2.0], unit="/s", target=5.0, note="why"),
        Row(bench="memory", what="resident", values=[400.0], unit="MB"),
    ]
    write(tmp_path / "new" / "bench.json", rows, {"repeats": 3})
    found = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert found["repeats"] == 3
    assert found["rows"][0]["values"] == [3.0, 1.0, 2.0]
    assert (found["rows"][0]["median"], found["rows"][0]["is_met"]) == (2.0, False)
    assert {"date", "processor", "cores", "python", "kafka", "versions"} <= found.keys()
    shown = io.StringIO()
    show(Console(file=shown, width=200), rows)
    assert all(words in shown.getvalue() for words in ("decisions/s", "at least 5: missed", "why", "resident"))
