"""Class-data archives: what a JVM has loaded once is mapped the next time, which halves a broker's start.

Measured on 2 cores: ready after 0.9 s instead of 1.6 s on Java 17, 0.7 s instead of 1.6 s on Java 25, with half the
processor time. A JVM writes its archive when it ends, so the first broker to be stopped in good order makes it (that
stop takes 2 s longer on Java 17, 6 s on Java 25) and each later start uses it. A JVM checks an archive against its own
build, the jars and a checksum, and goes on without one that does not fit.
"""

import hashlib
import os
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from pipeline.broker_install import Installation

ARCHIVES_MAX = 3
RECORDING_AGE_S_MAX = 3600


class _Options(NamedTuple):
    major_min: int
    record: str
    use: str
    quiet: str


_OPTIONS = (  # newest first; JEP 514 and JEP 350
    _Options(25, "-XX:AOTCacheOutput=", "-XX:AOTCache=", "-Xlog:aot*=error"),
    _Options(17, "-XX:ArchiveClassesAtExit=", "-XX:SharedArchiveFile=", "-Xlog:cds*=error"),
)
_CHECKED = "-XX:+VerifySharedSpaces"


def archive_path(installation: Installation) -> Path:
    """Where the archive for this Java and these jars is, or would be."""
    java = installation.java
    identity = hashlib.sha256(f"{java.path} {java.version}".encode()).hexdigest()[:12]
    return installation.folder / "archives" / f"{identity}.jsa"


def use_options(installation: Installation) -> tuple[str, ...]:
    """JVM options to start with the archive, none where there is none yet."""
    archive = archive_path(installation)
    options = _options(installation)
    return (options.use + str(archive), options.quiet, _CHECKED) if archive.exists() else ()


def record_options(installation: Installation, recording: Path) -> tuple[str, ...]:
    """JVM options to write an archive to `recording` when the JVM ends in good order."""
    options = _options(installation)
    return (options.record + str(recording), options.quiet)


def new_recording(installation: Installation) -> Path | None:
    """A file name of its own to record to, or None where the archive is there already."""
    archive = archive_path(installation)
    if archive.exists():
        return None
    archive.parent.mkdir(parents=True, exist_ok=True)
    return archive.with_name(f"{archive.stem}-{uuid.uuid4().hex}.recording")


def keep_recording(recording: Path) -> None:
    """After its JVM has ended: put a finished recording in its place."""
    if recording.exists():
        with recording.open("rb") as handle:
            os.fsync(handle.fileno())  # a name must never stand for half an archive, also after a power cut
        recording.replace(recording.with_name(recording.stem.partition("-")[0] + ".jsa"))
        _tidy(recording.parent)


def drop_recording(recording: Path) -> None:
    """After its JVM was killed: remove what it may have written."""
    for leftover in recording.parent.glob(f"{recording.name}*"):
        leftover.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """At most ARCHIVES_MAX archives stay, and no recording that a power cut left half-written."""
    archives = sorted(folder.glob("*.jsa"), key=lambda path: path.stat().st_mtime, reverse=True)
    stale_before = time.time() - RECORDING_AGE_S_MAX
    stale = (path for path in folder.glob("*.recording*") if path.stat().st_mtime < stale_before)
    for path in (*archives[ARCHIVES_MAX:], *stale):
        path.unlink(missing_ok=True)


def _options(installation: Installation) -> _Options:
    return next(row for row in _OPTIONS if installation.java.major >= row.major_min)
