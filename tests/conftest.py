"""Fixtures that more than one test file uses."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from pipeline.broker import temporary_broker

settings.register_profile("tidegate", deadline=None)  # a time limit would fail on a busy machine, and prove nothing
settings.load_profile("tidegate")


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The address of a real Kafka: TIDEGATE_BROKER where it is set, else one started for this session."""
    if named := os.environ.get("TIDEGATE_BROKER"):
        yield named
        return
    with temporary_broker() as started:
        yield started.address
