"""Control events as the scheduler meets them: few jobs and commands by name, so that they meet each other."""

from typing import Any

from hypothesis import strategies as st

from tests.streams.control import commands, deployments, jobs, timed


def streams() -> st.SearchStrategy[list[Any]]:
    return timed(st.lists(st.one_of(jobs(), jobs(), jobs(), commands(), commands(), deployments()), max_size=60))
