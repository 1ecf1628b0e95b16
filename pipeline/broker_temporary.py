"""A broker for one test session or one demo: a folder of its own, a free port, gone afterwards in every case."""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.broker_install import Progress
from pipeline.broker_run import HEAP_MB_DEFAULT, Broker, down, kill, up

_PREFIX = "tidegate-broker-"
_OWNER = "owner.lock"


@contextlib.contextmanager
def temporary_broker(*, heap_mb: int = HEAP_MB_DEFAULT, progress: Progress | None = None) -> Iterator[Broker]:
    """A broker while the block runs. Raises BrokerError where none can be had.

    It is stopped and its folder removed when the block ends, by an exception or Ctrl-C too. Where this process is
    killed outright, the kernel ends the broker (see `up`, die_with_parent) and the next temporary broker of anybody
    on this machine removes what was left behind.
    """
    _sweep()
    data_dir = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with _owned(data_dir):
        try:
            yield up(data_dir, 0, heap_mb=heap_mb, progress=progress, die_with_parent=True)
            down(data_dir)
        finally:
            _discard(data_dir)


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    """Mark the folder as in use until this process ends, however it ends: the system then lets go of the lock."""
    unlocked = data_dir / "owner.new"
    with unlocked.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        unlocked.rename(data_dir / _OWNER)
        yield


def _sweep() -> None:
    """Discard the folders, and brokers that may still run, of owners that were killed."""
    for owner in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        try:
            with owner.open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _discard(owner.parent)
        except OSError:
            continue  # its owner lives, or it is not ours to touch


def _discard(data_dir: Path) -> None:
    kill(data_dir)
    shutil.rmtree(data_dir, ignore_errors=True)
