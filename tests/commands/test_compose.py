"""docker-compose.yml as data: by its schema, and that it says what we run here by hand."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from pipeline.broker import HEAP_MB_DEFAULT, KAFKA_VERSION
from pipeline.broker_folder import COMMON_PROPERTIES
from pipeline.cli import root
from pipeline.flow import FLOW, STAGES

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
NOT_SETTINGS = {"KAFKA_HEAP_OPTS"}


def parsed(arguments):
    """Parse a command line down to its last command, without running it; the command's name and its parameters."""
    command, context = root(), None
    while True:
        context = command.make_context(command.name or "tidegate", list(arguments), parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not hasattr(command, "resolve_command"):
            return context.command.name, context.params
        _, command, arguments = command.resolve_command(context, rest)


def agents():
    """What each worker service is told to run."""
    workers = (service for name, service in SERVICES.items() if name.startswith("worker"))
    return [parsed(service["command"])[1]["agents"] for service in workers]


def test_it_is_a_compose_file(compose_schema):
    jsonschema.validate(COMPOSE, compose_schema)


def test_the_schema_can_say_no(compose_schema):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"kafka": {"imagine": "x"}}}, compose_schema)


@pytest.mark.parametrize("name", OURS)
def test_its_commands_are_valid_command_lines(name):
    parsed(SERVICES[name]["command"])


def test_a_wrong_command_line_would_be_seen():
    with pytest.raises(Exception, match="No such option"):
        parsed(["topics", "create", "--partition-count", "8"])


def test_the_workers_run_every_stage_once():
    agents = [
        parsed(service["command"])[1]["agents"] for name, service in SERVICES.items() if name.startswith("worker")
    ]
    stages = [stage for names in agents for stage in names.split(",")]
    assert sorted(stages) == sorted(STAGES)


def test_stages_that_are_linked_run_in_one_worker():
    agents = [
        parsed(service["command"])[1]["agents"] for name, service in SERVICES.items() if name.startswith("worker")
    ]
    of_stage = {stage: names for names in agents for stage in names.split(",")}
    reader = {row.reads: row.stage for row in FLOW}
    assert all(of_stage[row.stage] == of_stage[reader[row.passes]] for row in FLOW if row.passes)


def test_kafka_is_the_one_that_runs_here():
    kafka = SERVICES["kafka"]
    assert kafka["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert f"-Xmx{HEAP_MB_DEFAULT}m" in kafka["environment"]["KAFKA_HEAP_OPTS"]
    mounted = dict(volume.split(":")[:2] for volume in kafka["volumes"])
    assert mounted[f"./{COMMON_PROPERTIES.relative_to(ROOT)}"] == "/mnt/shared/config/server.properties"


def test_its_environment_changes_no_common_setting_of_kafka():
    common = {line.partition("=")[0] for line in COMMON_PROPERTIES.read_text().splitlines() if "=" in line}
    names = {name for name in SERVICES["kafka"]["environment"] if name.startswith("KAFKA_")} - NOT_SETTINGS
    assert not {name.removeprefix("KAFKA_").lower().replace("_", ".") for name in names} & common


def test_every_address_is_one_that_kafka_advertises():
    advertised = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    inside, outside = (listener.partition("://")[2] for listener in advertised)
    assert {SERVICES[name]["environment"]["TIDEGATE_BROKER"] for name in OURS} == {inside}
    assert SERVICES["kafka"]["ports"] == [f"{outside}:{outside.rpartition(':')[2]}"]


def test_every_service_that_stays_up_has_a_health_check():
    assert all("healthcheck" in service for name, service in SERVICES.items() if name != "topics")


def test_the_image_is_built_from_the_pinned_lock():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    missing = [name for names in copied for name in names if name != "README.md" and not (ROOT / name).exists()]
    assert missing == []
