"""Two requests share a key exactly when one's answer may be given to the other."""

import doctest
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline import cache_key
from pipeline.cache_key import DEPTH_MAX, NEUTRAL, key

AT: dict[str, Any] = {"model": "owl", "version": "2.0", "epoch": 3}
BODY: dict[str, Any] = {"prompt_tokens": [15, 9], "temperature": 0, "max_tokens": 100}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.mark.parametrize(
    "other",
    [
        BODY | {"prompt_tokens": [15, 9, 9]},
        BODY | {"prompt_tokens": [159]},
        BODY | {"prompt_tokens": ["15", "9"]},
        BODY | {"temperature": 0.7},
        BODY | {"max_tokens": 101},
        BODY | {"reasoning_effort": "high"},
        BODY | {"a field of tomorrow": 1},
        {"prompt_tokens": [15, 9], "temperature": 0},
    ],
)
def test_whatever_may_affect_the_answer_counts(other: dict[str, Any]) -> None:
    assert key(BODY, **AT) != key(other, **AT)


@pytest.mark.parametrize("changed", [{"model": "heron"}, {"version": "2.1"}, {"epoch": 4}, {"caller": "acme"}])
def test_model_version_epoch_and_caller_count(changed: dict[str, Any]) -> None:
    assert key(BODY, **AT) != key(BODY, **(AT | changed))


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_neutral_fields_do_not_count(name: str) -> None:
    assert key(BODY | {name: "anything"}, **AT) == key(BODY, **AT)


def test_neutral_names_count_inside_the_content() -> None:
    assert key(BODY | {"tools": [{"user": 1}]}, **AT) != key(BODY | {"tools": [{"user": 2}]}, **AT)


def test_the_same_said_otherwise_is_the_same() -> None:
    assert key({"temperature": 1.0, "stop": ("a",)}, **AT) == key({"stop": ["a"], "temperature": 1}, **AT)


@given(values, values)
def test_different_values_have_different_keys(one: Any, other: Any) -> None:
    assume(one != other)
    assert key({"x": one}, **AT) != key({"x": other}, **AT)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_order_of_fields_does_not_count(body: dict[str, Any]) -> None:
    assert key(dict(reversed(body.items())), **AT) == key(body, **AT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_tell_apart_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no JSON number"):
        key({"temperature": value}, **AT)


@pytest.mark.parametrize("value", [b"bytes", {1: "a"}, {1, 2}, object()])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no JSON value"):
        key({"x": value}, **AT)


def test_nesting_is_bounded() -> None:
    deep: Any = 0
    for _ in range(DEPTH_MAX):
        deep = [deep]
    with pytest.raises(ValueError, match="nested over"):
        key({"x": deep}, **AT)


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(cache_key).failed == 0
