"""Fixtures that more than one test file uses."""

import os
from collections.abc import Iterator

import pytest

from pipeline.broker import temporary_broker


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The address of a real Kafka: TIDEGATE_BROKER where it is set, else one started for this session."""
    if named := os.environ.get("TIDEGATE_BROKER"):
        yield named
        return
    with temporary_broker() as started:
        yield started.address
