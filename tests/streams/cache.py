"""Control events as the cache meets them: commands of every kind, deployments, and what does not concern it."""

from typing import Any

from hypothesis import strategies as st

from tests.streams.control import commands, deployments, jobs, timed


def streams() -> st.SearchStrategy[list[Any]]:
    return timed(st.lists(st.one_of(commands(), commands(), deployments(), jobs()), max_size=40))
