"""python -m bench.peers.install: an environment for each Python peer, and the Java peer's classes. Nothing global.

Needs `java` 17 or newer and `mvn` for Kafka Streams; without them it is left out.
"""

import shutil
import subprocess
import sys
import venv

from rich.console import Console

from bench.peers.table import HERE, VENVS

REQUIREMENTS = {"faust": "faust.txt", "quix": "quix.txt", "bytewax": "bytewax.txt"}


def main() -> None:
    """Install what is missing; again does no harm."""
    out = Console()
    for name, file in REQUIREMENTS.items():
        out.print(f"{name}: {file} into {VENVS.name}/{name}")
        _python_peer(name, file)
    if shutil.which("mvn") and shutil.which("java"):
        out.print("kafka-streams: mvn package")
        _run("mvn", "--quiet", "--batch-mode", "package", "--file", str(HERE / "kafka-streams" / "pom.xml"))
    else:
        out.print("kafka-streams is left out: it needs java and mvn on the path")


def _python_peer(name: str, file: str) -> None:
    folder = VENVS / name
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True, symlinks=True)
    python = str(folder / "bin" / "python")
    _run(python, "-m", "pip", "install", "--quiet", "--requirement", str(HERE / "requirements" / file))


def _run(*command: str) -> None:
    if code := subprocess.run(command, check=False).returncode:  # noqa: S603 - commands of this file
        sys.exit(f"{' '.join(command)} ended with {code}")


if __name__ == "__main__":
    main()
