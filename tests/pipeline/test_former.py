"""Where a metric was before a change that lasted: remembered for hours, then forgotten."""

import numpy as np

from pipeline.judging.former import Former, FormerParams, back, follow

PARAMS = FormerParams(sustained=10, windows=360)


def after(findings: int, level: float = 2.0, before: int = 0) -> Former:
    former = Former()
    for run in range(findings):
        follow(former, before + run, level, 100 + run, PARAMS)
    return former


def test_a_run_of_findings_is_remembered_once_it_is_sustained_and_for_hours_after_it() -> None:
    assert after(9).at(110) is None
    assert after(10).at(110) == 2.0
    assert after(30).at(129 + 359) == 2.0
    assert after(30).at(129 + 360) is None


def test_the_level_is_that_at_its_start() -> None:
    former = after(10)
    for run in range(10, 60):
        follow(former, run, 5.0, 100 + run, PARAMS)
    assert former.at(160) == 2.0
    assert after(30, before=3).at(130) is None  # a run whose start was not seen


def test_back_is_nearer_to_the_former_level_and_not_beyond_it() -> None:
    level, former, effect = 3.0, 1.0, 0.4
    values = np.array([1.0, 1.3, 0.7, 2.0, 0.5, 3.0, 3.5, np.nan])
    n = len(values)
    found = back(values, np.full(n, level), np.full(n, former), np.full(n, effect))
    assert found.tolist() == [True, True, True, True, False, False, False, False]


def test_nothing_is_back_where_nothing_has_changed_or_is_known() -> None:
    values, effects = np.array([1.0, 1.0, 1.0]), np.full(3, 0.4)
    assert not back(values, np.array([1.2, np.nan, 3.0]), np.array([1.0, 1.0, np.nan]), effects).any()
