"""A bad record becomes a dead letter that names field and offset; its neighbours become events."""

import json

import pytest

from pipeline.intake import Intake, Raw, Records
from topics.codec import encoder
from topics.fields import PROMPT_CHARACTERS_MAX
from topics.table import BY_ALIAS
from topics.traffic import Request

NOW_US = 1_790_000_000_000_000
DAY_US = 86_400_000_000
GOOD = {
    "type": "request",
    "id": "r-1",
    "time_us": NOW_US,
    "organisation": "acme",
    "gen_ai.request.model": "tide-70b",
    "gen_ai.usage.input_tokens": 12,
}


def changed(**changes: object) -> bytes:
    return json.dumps({**GOOD, **{name.replace("__", "."): value for name, value in changes.items()}}).encode()


BAD = {
    "truncated JSON": (json.dumps(GOOD).encode()[:40], "", "truncated"),
    "wrong type": (changed(time_us="yesterday"), "time_us", "Expected `int`"),
    "NaN": (changed(gen_ai__usage__input_tokens=float("nan")), "", "not JSON"),
    "a float with a fraction": (
        changed(gen_ai__usage__input_tokens=1.5),
        "gen_ai.usage.input_tokens",
        "Expected `int`",
    ),
    "negative tokens": (changed(gen_ai__usage__input_tokens=-1), "gen_ai.usage.input_tokens", ">= 0"),
    "2 MB prompt": (changed(prompt="a" * 2_000_000), "prompt", f"length <= {PROMPT_CHARACTERS_MAX}"),
    "far past": (changed(time_us=NOW_US - 8 * DAY_US), "time_us", "over 7 days before"),
    "far future": (changed(time_us=NOW_US + DAY_US), "time_us", "over 5 minutes after"),
    "before 1970": (changed(time_us=-1), "time_us", ">= 0"),
    "unknown field": (changed(colour="red"), "colour", "unknown field"),
    "unknown kind": (changed(type="reqest"), "type", "Invalid value"),
    "missing field": (
        json.dumps({"type": "request", "id": "a", "time_us": NOW_US}).encode(),
        "organisation",
        "required",
    ),
    "empty organisation": (changed(organisation=""), "organisation", "length >= 1"),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), "", "not JSON"),
    "Latin-1": (changed(organisation="x").replace(b'"x"', b'"caf\xe9"'), "", "not UTF-8"),
    "not an object": (b"[1, 2]", "", "Expected `object`"),
    "no bytes": (b"", "", "truncated"),
    "tombstone": (None, "", "tombstone"),
    "nested too deep": (b"[" * 100_000, "", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_record_between_good_ones(name: str) -> None:
    value, field, reason = BAD[name]
    raws = [Raw(7, NOW_US, changed(id="before")), Raw(8, NOW_US, value), Raw(9, NOW_US, changed(id="after"))]
    batch, dead = Intake("traffic", "quota").batch(3, 8, Records.of_rows(raws))
    assert [(offset, event.id) for offset, event in zip(batch.offsets, batch.events, strict=True)] == [
        (7, "before"),
        (9, "after"),
    ]
    (letter,) = [output.value for output in dead]
    assert (letter.topic, letter.partition, letter.offset, letter.stage) == ("tidegate.traffic.v1", 3, 8, "quota")
    assert letter.field == field
    assert reason in letter.reason
    assert letter.size_bytes == len(value or b"")


@pytest.mark.parametrize("name", BAD)
def test_a_dead_letter_travels_and_carries_no_content(name: str) -> None:
    value, _, _ = BAD[name]
    _, dead = Intake("traffic", "quota").batch(0, 1, Records.of_rows([Raw(0, NOW_US, value)]))
    sent = encoder(BY_ALIAS["dead-letters"])(dead[0].value)
    assert len(sent) < 3_000
    for secret in (b"yesterday", b"reqest", b"aaaa", b"caf"):
        assert secret not in sent


def test_good_records_decode_to_events() -> None:
    batch, dead = Intake("traffic", "quota").batch(0, 1, Records.of_rows([Raw(0, NOW_US, changed())]))
    assert dead == []
    assert batch.events == [Request(id="r-1", time_us=NOW_US, organisation="acme", model="tide-70b", input_tokens=12)]
