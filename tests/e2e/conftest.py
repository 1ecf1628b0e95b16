"""Whole runs on real servers. Each test has a broker of its own, so that its logs hold its own records only."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.broker import temporary_broker

DATA = Path(os.environ.get("TIDEGATE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
"""Recorded traffic that is not part of this repository (TIDEGATE_DATA names another place)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.broker)


@pytest.fixture
def fresh_broker() -> Iterator[str]:
    """The address of an empty Kafka."""
    with temporary_broker() as broker:
        yield broker.address


@pytest.fixture(scope="session")
def traffic_folder() -> Path:
    folder = DATA / "traffic"
    if not folder.is_dir():
        pytest.skip(f"no recorded traffic at {folder}: name its folder with TIDEGATE_DATA")
    return folder
