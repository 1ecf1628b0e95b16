"""Resolve Apache Kafka afresh through jgo and print the checksum file that `pipeline.broker` verifies against.

Run it once when KAFKA_VERSION in pipeline/broker_install.py moves, from the root of the repository, and read the diff
before committing it (`NEW` stands for the new version):

    python -m deploy.kafka.pin > pipeline/kafka-NEW.sha256

The output is in the format of `sha256sum`, its paths relative to a Maven repository; the installed jars can be checked
by hand with `sha256sum --check` inside the cache's folder of that version.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from jgo.maven import MavenContext, PythonResolver

from pipeline.broker_install import KAFKA_VERSION, repositories

# slf4j-jdk14 sends Kafka's log to java.util.logging, which the JDK brings and which rotates files by size.
COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-jdk14:1.7.36")
RUNTIME_SCOPES = ("compile", "runtime")


def resolved_jars(repository: Path) -> list[Path]:
    """Every jar that the coordinates need at run time, downloaded into `repository`."""
    context = MavenContext(resolver=PythonResolver(), repo_cache=repository, remote_repos=repositories())
    inputs, transitive = context.resolver.resolve([context.create_dependency(name) for name in COORDINATES])
    needed = [*inputs, *(dependency for dependency in transitive if dependency.scope in RUNTIME_SCOPES)]
    return sorted(Path(dependency.artifact.resolve()) for dependency in needed)


def main() -> None:
    """Print one line a jar: its SHA-256 and its path in the repository."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        for jar in resolved_jars(repository):
            digest = hashlib.sha256(jar.read_bytes()).hexdigest()
            sys.stdout.write(f"{digest}  {jar.relative_to(repository).as_posix()}\n")


if __name__ == "__main__":
    main()
