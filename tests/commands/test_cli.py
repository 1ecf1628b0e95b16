import subprocess
import sys

import pytest

import pipeline.cli
from pipeline.cli import BY_NAME, COMMANDS

HEAVY = ("faust", "sklearn", "statsmodels", "matplotlib", "scipy", "aiokafka", "numpy", "pipeline.flow")


def test_help_names_every_command_and_imports_nothing_heavy():
    program = (
        "import sys; from pipeline.cli import run; code = run(['--help']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *screen, heavy = done.stdout.strip().splitlines()
    assert heavy == "[]"
    for entry in COMMANDS:
        assert any(entry.name in line and entry.about[:30] in line for line in screen), entry.name


def test_names_are_unique():
    assert len(BY_NAME) == len(COMMANDS)


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_loads_and_explains_itself(entry, tidegate):
    ran = tidegate(entry.name, "--help")
    assert ran.code == 0
    assert f"tidegate {entry.name}" in ran.out
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--version"], 0, "tidegate "),
        (["no-such-command"], 2, "No such command"),
        (["aprove", "c1"], 2, "approve"),
        (["follow", "no-such-topic"], 2, "dead-letters"),
        (["topics", "create", "--partitions", "0"], 2, "partitions"),
        (["topics", "create", "--broker", "nowhere"], 1, "give host:port"),
        (["topics", "create", "--broker", "127.0.0.1:1"], 1, "tidegate broker up"),
        (["follow", "alerts", "--broker", "127.0.0.1:1"], 1, "tidegate broker up"),
        (["plan", "acme", "gold", "--broker", "127.0.0.1:1"], 2, "enterprise"),
        (["deploy", "", "v2", "--broker", "127.0.0.1:1"], 1, "no valid deployment"),
        (["maintenance", "5", "--start", "soon", "--broker", "127.0.0.1:1"], 1, "ISO 8601"),
        (["detect", "no-such-file.csv"], 1, "cannot be read"),
        (["moderate", "no-such-file.jsonl"], 1, "cannot be read"),
        (["topics", "doc", "--check"], 2, "--output"),
    ],
)
def test_failures_are_one_clear_sentence(arguments, code, says, tidegate):
    ran = tidegate(*arguments)
    assert ran.code == code
    assert says in " ".join((ran.out + ran.err).replace("│", " ").split())
    assert "Traceback" not in ran.err
    if code == 1:
        assert ran.err.startswith("tidegate: ")
        assert len(ran.err.strip().splitlines()) == 1


def test_without_a_broker_the_message_tells_how_to_get_one(tidegate, monkeypatch, tmp_path):
    monkeypatch.delenv("TIDEGATE_BROKER", raising=False)
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    ran = tidegate("follow", "alerts")
    assert ran.code == 1
    assert "tidegate broker up" in ran.err
    status = tidegate("broker", "status")
    assert status.code == 1
    assert "not running" in status.out
    assert tidegate("broker", "down").out.strip() == "no broker was running"


def test_the_errors_that_are_for_users_exist():
    import importlib

    for module, name in pipeline.cli.USER_ERRORS:
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_flow_is_drawn_from_the_table(tidegate):
    from pipeline.flow import FLOW

    ran = tidegate("flow")
    for row in FLOW:
        assert row.stage in ran.out
        assert row.about in ran.out
    assert tidegate("flow", "--format", "mermaid").out.startswith("flowchart LR\n")
