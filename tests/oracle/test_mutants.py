"""Mutants still find what they change. That each is noticed takes a broker: `python -m tests.oracle --mutant NAME`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracle.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
NOBODY_LISTENS = "127.0.0.1:1"
START = "import sys; from tests.oracle.mutants import MUTANTS; MUTANTS[sys.argv[1]](sys.argv[2])"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_finds_what_it_changes(name: str) -> None:
    command = [sys.executable, "-c", START, name, NOBODY_LISTENS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
