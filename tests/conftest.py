"""Fixtures that more than one test file uses."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from pipeline.broker import temporary_broker

settings.register_profile("tidegate", deadline=None)  # a time limit would fail on a busy machine, and prove nothing
settings.load_profile("tidegate")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """The address of a real Kafka: TIDEGATE_BROKER where it is set, else one started for this session."""
    if named := os.environ.get("TIDEGATE_BROKER"):
        yield named
        return
    with temporary_broker() as started:
        yield started.address
