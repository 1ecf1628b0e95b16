"""The AsyncAPI 3.0.0 document of all topics, generated from the table, with JSON schemas by msgspec.

https://www.asyncapi.com/docs/reference/specification/v3.0.0, Kafka bindings 0.5.0, CloudEvents 1.0 in structured mode.
Actions are as seen from Tidegate: it `receive`s what users produce and `send`s what they subscribe to.
"""

import inspect
import json
from typing import Any, get_args

import msgspec

from topics.codec import CLOUDEVENTS_CONTENT_TYPE, JSON_CONTENT_TYPE, CloudEvent
from topics.configuration import PARTITIONS_DEFAULT, REPLICAS_DEFAULT, configuration, partition_count
from topics.examples import EXAMPLES
from topics.table import TOPICS, Topic

ASYNCAPI_VERSION = "3.0.0"
BINDING_VERSION = "0.5.0"
DOCUMENT_VERSION = "1.0.0"  # of the interface: raised when a topic or a field changes
SCHEMA_REF = "#/components/schemas/{name}"

ACTIONS: dict[str, tuple[str, ...]] = {"traffic": ("receive",), "control": ("receive", "send")}
"""What Tidegate does with a topic; those that are not named here it sends."""

ABOUT = """Tidegate meters, moderates and watches the traffic of an LLM API, alerts, and acts.

Produce requests and completions to the traffic topic; subscribe to decisions, alerts and commands. Values are JSON in
UTF-8. The record key is the field that a message's binding names, and the partition Kafka's default (murmur2) of it.
Times ending in _us are microseconds since 1970-01-01T00:00:00Z. What does not decode is named in the dead letters.
"""

Document = dict[str, Any]


def render() -> str:
    """The document as JSON text, the same on every machine."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> Document:
    """The document as data."""
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "id": "urn:tidegate",
        "info": {
            "title": "Tidegate",
            "version": DOCUMENT_VERSION,
            "description": ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON_CONTENT_TYPE,
        "servers": {
            "local": {
                "host": "127.0.0.1:9092",
                "protocol": "kafka",
                "description": "The broker of `tidegate broker up`; TIDEGATE_BROKER names another.",
            }
        },
        "channels": {topic.alias: _channel(topic) for topic in TOPICS},
        "operations": {
            f"{action}-{topic.alias}": _operation(topic, action)
            for topic in TOPICS
            for action in ACTIONS.get(topic.alias, ("send",))
        },
        "components": {
            "schemas": schemas(),
            "messages": {
                f"{topic.alias}.{_name(member)}": _message(topic, member)
                for topic in TOPICS
                for member in members(topic)
            },
        },
    }


def members(topic: Topic) -> tuple[type[Any], ...]:
    """The record types of a topic."""
    return get_args(topic.values) or (topic.values,)


def _payload(topic: Topic, member: type[Any]) -> Any:
    return CloudEvent[member] if topic.cloudevent else member  # type: ignore[valid-type]


def _name(member: type[Any]) -> str:
    return str(member.__name__)


def _channel(topic: Topic) -> Document:
    settings = configuration(topic)
    return {
        "address": topic.name,
        "summary": topic.about,
        "tags": [{"name": name} for name in _tags(topic)],
        "messages": {
            _name(member): {"$ref": f"#/components/messages/{topic.alias}.{_name(member)}"} for member in members(topic)
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": partition_count(topic, PARTITIONS_DEFAULT),
                "replicas": REPLICAS_DEFAULT,
                "topicConfiguration": {
                    "cleanup.policy": settings["cleanup.policy"].split(","),
                    "retention.ms": int(settings["retention.ms"]),
                    "max.message.bytes": int(settings["max.message.bytes"]),
                },
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _tags(topic: Topic) -> list[str]:
    audience = "internal" if topic.internal else "produce" if topic.alias in ACTIONS else "subscribe"
    return [audience, "private"] if topic.private else [audience]


def _operation(topic: Topic, action: str) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.alias}"},
        "summary": topic.about,
        "messages": [{"$ref": f"#/channels/{topic.alias}/messages/{_name(member)}"} for member in members(topic)],
    }


def _message(topic: Topic, member: type[Any]) -> Document:
    message: Document = {
        "name": _name(member),
        "title": f"{_name(member)} on {topic.name}",
        "summary": (member.__doc__ or "").strip().split("\n")[0],
        "contentType": CLOUDEVENTS_CONTENT_TYPE if topic.cloudevent else JSON_CONTENT_TYPE,
        "payload": {"$ref": SCHEMA_REF.format(name=_schema_name(topic, member))},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"the value's field `{topic.key}`"},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }
    if example := EXAMPLES.get(member):
        message["examples"] = [{"name": "example", "payload": msgspec.to_builtins(example)}]
    return message


def schemas() -> Document:
    """JSON schemas (draft 7, as AsyncAPI's own schema format extends it) of everything that travels, by name."""
    _, components = msgspec.json.schema_components(_payloads(), ref_template=SCHEMA_REF)
    return {name: _to_draft_7(components[name]) for name in sorted(components)}


def _payloads() -> list[Any]:
    return [_payload(topic, member) for topic in TOPICS for member in members(topic)]


def _schema_name(topic: Topic, member: type[Any]) -> str:
    (reference,), _ = msgspec.json.schema_components([_payload(topic, member)], ref_template="{name}")
    return str(reference["$ref"])


def _to_draft_7(schema: Any) -> Any:
    """msgspec writes draft 2020-12 with OpenAPI's discriminator; AsyncAPI reads draft 7 with a plain property name."""
    if isinstance(schema, list):
        return [_to_draft_7(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _to_draft_7(value) for key, value in schema.items()}
    if isinstance(made.get("description"), str):
        made["description"] = inspect.cleandoc(made["description"])
    if isinstance(made.get("discriminator"), dict):
        made["discriminator"] = made["discriminator"]["propertyName"]
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")
        made["additionalItems"] = False
    return made
