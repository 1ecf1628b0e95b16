"""The AsyncAPI document by the official schema of AsyncAPI 3.0.0, Kafka bindings included."""

import json

import jsonschema

from topics.asyncapi import render


def test_the_document_is_asyncapi_3(asyncapi_schema):
    jsonschema.validate(json.loads(render()), asyncapi_schema, jsonschema.Draft7Validator)


def test_the_schema_can_say_no(asyncapi_schema):
    document = json.loads(render())
    document["channels"]["traffic"]["bindings"]["kafka"]["partitions"] = -1
    assert not jsonschema.Draft7Validator(asyncapi_schema).is_valid(document)
