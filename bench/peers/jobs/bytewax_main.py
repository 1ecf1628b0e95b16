# mypy: ignore-errors
# Runs in an environment of its own, and is written as its documentation writes such jobs: without annotations.
"""Starts the Bytewax job as `python -m bytewax.run` does, with recovery as its documentation sets it up."""

import os
import subprocess
import sys
from pathlib import Path

state = Path(os.environ["PEER_STATE"])
subprocess.run([sys.executable, "-m", "bytewax.recovery", str(state), "1"], check=True)  # noqa: S603 - no input
os.chdir(Path(__file__).parent)
command = [sys.executable, "-m", "bytewax.run", "bytewax_job:flow", "-r", str(state), "-s", "10", "-b", "0"]
os.execv(sys.executable, command)  # noqa: S606 - becomes the job, so that one process is measured
