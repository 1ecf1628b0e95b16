"""Ratios to the peers are taken within a repeat; steady ones leave start-up out; failed runs do not count."""

import pytest

from bench.peers.run import Measured
from bench.windows import _absolute, _ratios

START_S = 2.0


def runs(name: str, us_an_event: float) -> tuple[Measured, Measured]:
    """A short run and a long one of something that takes START_S of processor time to start."""
    return tuple(  # type: ignore[return-value]
        Measured(name, events, START_S + events * us_an_event / 1e6, 1.0, 100.0) for events in (1_000_000, 4_000_000)
    )


def test_start_up_cancels_out_of_the_steady_figure_and_stays_in_the_whole() -> None:
    rows = {row.what: row for row in _absolute({"tidegate": [runs("tidegate", 4.0)]})}
    assert rows["tidegate, steady"].median == pytest.approx(250_000)
    assert rows["tidegate, whole"].median == pytest.approx(4_000_000 / (START_S + 16.0))


def test_ratios_pair_the_runs_of_one_repeat_and_leave_failed_ones_out() -> None:
    ours = [runs("tidegate", 4.0), None, runs("tidegate", 2.0)]
    theirs = [runs("faust", 80.0), runs("faust", 1.0), runs("faust", 60.0)]
    rows = {row.what: row for row in _ratios({"tidegate": ours, "faust": theirs, "quix": [None, None, None]})}
    assert rows["ours to faust, steady"].values == pytest.approx([20.0, 30.0])
    assert rows["ours to faust, steady"].is_met
    assert not any("quix" in what for what in rows)
