"""Processes: whether one lives, waiting for its end, and tying its life to ours."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import psutil

POLL_INTERVAL_S = 0.05
_PR_SET_PDEATHSIG = 1  # prctl(2)


def is_alive(process: psutil.Process) -> bool:
    """False for a zombie too, once all its threads, which may hold ports and files, are gone."""
    try:
        if not process.is_running():
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def ends_within(process: psutil.Process, timeout_s: float) -> bool:
    """Wait for the end of a process. A zombie has ended: if it is our child this reaps it, else its parent will."""
    deadline_s = time.monotonic() + timeout_s
    while is_alive(process):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_INTERVAL_S)
    with contextlib.suppress(psutil.TimeoutExpired):
        process.wait(0)
    return True


def end_with_this_process() -> Callable[[], None] | None:
    """What the child does between fork and exec so that the kernel kills it when we are gone."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel knew
            os._exit(1)

    return arrange
