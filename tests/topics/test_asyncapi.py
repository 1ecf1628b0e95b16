import json

import jsonschema
import msgspec
import pytest

from topics.asyncapi import document, members
from topics.codec import decoder, encoder
from topics.configuration import configuration, duration_text, partition_count
from topics.examples import EXAMPLES
from topics.table import TOPICS

DOCUMENT = json.loads(json.dumps(document()))


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(reference):
    node = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_every_reference_leads_somewhere():
    found = set(references(DOCUMENT))
    assert len(found) > 50
    for reference in found:
        assert resolved(reference)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.alias)
def test_a_channel_says_what_the_table_says(topic):
    channel = DOCUMENT["channels"][topic.alias]
    kafka = channel["bindings"]["kafka"]
    assert channel["address"] == kafka["topic"] == topic.name
    assert kafka["partitions"] == partition_count(topic)
    assert kafka["topicConfiguration"]["retention.ms"] == int(configuration(topic)["retention.ms"])
    assert set(channel["messages"]) == {member.__name__ for member in members(topic)}
    assert [tag["name"] for tag in channel["tags"]].count("private") == topic.private


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=lambda example: type(example).__name__)
def test_examples_decode_and_fit_their_schema(example):
    topic = next(topic for topic in TOPICS if type(example) in members(topic))
    value = encoder(topic)(example)
    assert decoder(topic)(value) == example
    message = DOCUMENT["components"]["messages"][f"{topic.alias}.{type(example).__name__}"]
    assert message["examples"][0]["payload"] == json.loads(value)
    schema = {"$ref": message["payload"]["$ref"], "components": DOCUMENT["components"]}
    jsonschema.validate(json.loads(value), schema, jsonschema.Draft7Validator)


@pytest.mark.parametrize(
    "change", [{"gen_ai.usage.input_tokens": -1}, {"surprise": 1}, {"type": "completion"}, {"id": ""}]
)
def test_the_schema_refuses_what_the_decoder_refuses(change):
    request = {**msgspec.to_builtins(next(iter(EXAMPLES.values()))), **change}
    schema = {"$ref": "#/components/schemas/Request", "components": DOCUMENT["components"]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(request, schema, jsonschema.Draft7Validator)
    with pytest.raises(msgspec.ValidationError):
        decoder(TOPICS[0])(msgspec.json.encode(request))


def test_alerts_and_commands_are_cloudevents():
    for topic in TOPICS:
        for member in members(topic):
            message = DOCUMENT["components"]["messages"][f"{topic.alias}.{member.__name__}"]
            schema = resolved(message["payload"]["$ref"])
            assert ("specversion" in schema["properties"]) == bool(topic.cloudevent)
            assert message["contentType"].startswith("application/cloudevents+json") == bool(topic.cloudevent)


def test_a_quiet_topic_does_not_keep_prompts_for_a_week():
    for topic in TOPICS:
        settings = configuration(topic)
        assert int(settings["segment.ms"]) * 8 <= topic.retention_ms


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(86_400_000, "1 day"), (2_592_000_000, "30 days"), (5_400_000, "1.5 h")]
)
def test_durations_read_well(milliseconds, text):
    assert duration_text(milliseconds) == text
