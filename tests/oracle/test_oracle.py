"""Kill anything at any moment, and every total is exact: two seeds of what `python -m tests.oracle` runs at length."""

import logging
import sys

import pytest

from tests.oracle.chaos import Spec, run

EVENTS = 40_000
SEEDS = (8, 9)

pytestmark = [pytest.mark.e2e, pytest.mark.broker, pytest.mark.timeout(600)]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_total_is_exact_whatever_happens(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")  # it tells of every broker that goes away: ours do
    spec = Spec(seed, EVENTS)
    judgement = run(spec, say)
    assert judgement.balanced, "\n".join([f"to repeat: {spec.command}", *judgement.findings.lines()])
    kills = sum(fault.action == "kill" for fault in spec.faults)
    assert judgement.counts["states restored"] > kills, "no worker began where a killed one had been"
    assert judgement.counts["alerts"] > 0
    assert judgement.counts["commands"] > 0
