"""Tables of what was expected and what came, and the cause they must give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.attribution import AttributionParams, Dimension, Value, attribute

Row = tuple[str, float, float, float]  # value, expected, actual, exposure
Table = dict[str, list[Row]]

REGIONS: list[Row] = [("eu", 4, 90, 900), ("us", 4, 5, 1_000), ("ap", 2, 2, 500)]

CASES: list[tuple[str, Table, list[tuple[str, tuple[str, ...]]]]] = [
    ("one region of three fails", {"region": REGIONS}, [("region", ("eu",))]),
    ("everything fails alike", {"region": [("eu", 4, 90, 900), ("us", 4, 101, 1_000), ("ap", 2, 49, 500)]}, []),
    ("alike, with nine tenths in one region", {"region": [("eu", 9, 270, 9_000), ("us", 1, 30, 1_000)]}, []),
    ("half of the rest fails too", {"region": [("eu", 4, 90, 900), ("us", 4, 70, 1_000)]}, []),
    ("a tiny part is no cause of a large change", {"region": [("eu", 9, 100, 900), ("ap", 0.1, 4, 10)]}, []),
    ("too few to tell", {"region": [("eu", 0, 2, 9), ("us", 0, 1, 10)]}, []),
    ("two regions of five", {
        "region": [("r1", 5, 100, 500), ("r2", 5, 90, 500), ("r3", 5, 5, 500), ("r4", 5, 6, 500), ("r5", 5, 4, 500)],
    }, [("region", ("r1", "r2"))]),
    ("six of eight need too many names", {
        "region": [(f"r{n}", 5, 50 if n < 6 else 5, 500) for n in range(8)],
    }, []),
    ("one organisation, all of it in one region: the narrower one first", {
        "region": REGIONS,
        "organisation": [("acme", 1, 88, 100), ("zenith", 5, 5, 1_100), ("nimbus", 4, 4, 1_200)],
    }, [("organisation", ("acme",)), ("region", ("eu",))]),
    ("a region of many organisations", {
        "region": REGIONS,
        "organisation": [(f"o{n}", 0.4, 4.2 if n < 20 else 0.4, 100) for n in range(24)],
    }, [("region", ("eu",))]),
    ("requests of one region gone", {
        "region": [("eu", 400, 0, 400), ("us", 400, 410, 400), ("ap", 200, 190, 200)],
    }, [("region", ("eu",))]),
    ("all requests gone", {"region": [("eu", 400, 0, 400), ("us", 600, 0, 600)]}, []),
    ("a newcomer", {"client": [("v1", 500, 510, 500), ("v2", 0, 600, 0)]}, [("client", ("v2",))]),
    ("nothing changed", {"region": [("eu", 4, 4, 900), ("us", 4, 4, 900)]}, []),
    ("no values", {"region": []}, []),
    ("no dimensions", {}, []),
]  # fmt: skip


@pytest.mark.parametrize(("table", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_table(table: Table, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    dimensions = {
        name: Dimension([Value(*row) for row in rows], sum(row[2] for row in rows)) for name, rows in table.items()
    }
    found = attribute(dimensions, AttributionParams())
    assert [(one.dimension, one.values) for one in found] == expected
    assert all(0 < one.share <= 1 and 0 < one.surprise <= 0.7 for one in found)


def test_what_is_not_named_counts_too() -> None:
    """Half of the errors lie outside the values that are named."""
    whole = Value("", 10, 180, 4_000)
    assert attribute({"region": Dimension([Value(*row) for row in REGIONS], 180, whole)}, AttributionParams()) == []


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="set_min"):
        AttributionParams(set_min=0.05)
    with pytest.raises(ValueError, match="alpha"):
        AttributionParams(alpha=0.0)


AMOUNTS = st.floats(0, 1e9, allow_nan=False)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS), max_size=9), AMOUNTS)
def test_whatever_comes_shares_and_surprise_are_numbers(rows: list[tuple[float, float, float]], events: float) -> None:
    values = [Value(f"v{number}", *row) for number, row in enumerate(rows)]
    for one in attribute({"region": Dimension(values, events)}, AttributionParams()):
        assert 0 <= one.share <= 1
        assert 0 <= one.surprise <= 0.7
        assert len(one.values) <= AttributionParams().set_max
