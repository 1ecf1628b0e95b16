"""Every kind of control event."""

from typing import Any

from hypothesis import strategies as st

from tests.streams.control import anything, timed


def streams() -> st.SearchStrategy[list[Any]]:
    return timed(st.lists(anything(), max_size=40))
