"""Run command lines in this process; and the official schemas that our documents are validated against."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.broker_install import cache_dir
from pipeline.cli import run

FETCH_TIMEOUT_S = 120


class Ran(NamedTuple):
    """What one command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def tidegate(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `tidegate ARGUMENTS...` and take its exit code, stdout and stderr."""

    def ran(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Ran(code, *capfd.readouterr())

    return ran


@dataclass(frozen=True)
class Published:
    """A schema inside a pinned package of a registry: how to get the package, and which file of it is the schema."""

    package: str
    fetch: Sequence[str]
    member: str
    sha256: str


ASYNCAPI = Published(
    "asyncapi-specs-6.11.1.tgz",
    ("npm", "pack", "--silent", "@asyncapi/specs@6.11.1"),
    "package/schemas/3.0.0-without-$id.json",
    "abe96881dbfaad495ccbb6bd8d3fb43ca18a13b9d7564849ccb66f39d5e5b20f",
)
COMPOSE = Published(
    "check_jsonschema-0.39.0-py3-none-any.whl",
    (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "check-jsonschema==0.39.0"),
    "check_jsonschema/builtin_schemas/vendor/compose-spec.json",
    "d549057ebc2925f39f62799eab0db7b9e2c18b35b6c00595199116da3ed10e64",
)


@pytest.fixture(scope="session")
def asyncapi_schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The AsyncAPI initiative's JSON schema of AsyncAPI 3.0.0 (Apache-2.0), from its npm package."""
    return _schema(ASYNCAPI, tmp_path_factory.mktemp("asyncapi"))


@pytest.fixture(scope="session")
def compose_schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The compose specification's JSON schema (Apache-2.0), as the PyPI package check-jsonschema carries it."""
    return _schema(COMPOSE, tmp_path_factory.mktemp("compose"))


def _schema(published: Published, folder: Path) -> Any:
    """The verified schema, kept in the user's cache; the test is skipped where the registry cannot be reached."""
    kept = cache_dir() / "schemas" / f"{published.sha256}.json"
    if not kept.exists():
        text = _fetched(published, folder)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(text)
    text = kept.read_bytes()
    assert hashlib.sha256(text).hexdigest() == published.sha256, f"{kept} is not {published.member}: delete it"
    return json.loads(text)


def _fetched(published: Published, folder: Path) -> bytes:
    if not shutil.which(published.fetch[0]):
        pytest.skip(f"{published.fetch[0]} is not installed: the schema cannot be fetched")
    done = subprocess.run(published.fetch, cwd=folder, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
    if done.returncode:
        pytest.skip(f"{' '.join(published.fetch)} failed, offline? {done.stderr[-200:]}")
    package = folder / published.package
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(published.member)
    with tarfile.open(package) as archive:
        found = archive.extractfile(published.member)
        assert found is not None
        return found.read()
