"""Readers of foreign traces and of our own format, on files written here."""

import gzip
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from replay.event import ReplayError
from replay.readers import azure, burstgpt, mooncake, native
from replay.readers.foreign import Row
from replay.sources import detect_format, open_source
from topics.control import Deployment, Plan, Relayed
from topics.traffic import Completion, Request, Tick

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_azure_rows_keep_microseconds_and_tokens(write: Write) -> None:
    path = write("a.csv", AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n")
    assert list(azure.read(path)) == [
        Row(1_700_158_546_680_590, 374, 44),
        Row(1_700_158_550_995_169, 396, 109),
    ]


def test_burstgpt_rows_bring_model_and_failure(write: Write) -> None:
    path = write("b.csv", BURST + "5.25,GPT-4,100,20,120,API log\n6.0,ChatGPT,7,0,7,Conversation log\n")
    assert list(burstgpt.read(path)) == [
        Row(5_250_000, 100, 20, "GPT-4", failed=False),
        Row(6_000_000, 7, 0, "ChatGPT", failed=True),
    ]


def test_mooncake_rows_are_milliseconds(write: Write) -> None:
    path = write("m.jsonl", '{"timestamp": 1500, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n')
    assert list(mooncake.read(path)) == [Row(1_500_000, 6758, 500)]


def test_other_columns_order_and_compression_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"Extra,GeneratedTokens,TIMESTAMP,ContextTokens\nx,44,2023-11-16 18:15:46,374\n"))
    assert list(azure.read(path)) == [Row(1_700_158_546_000_000, 374, 44)]


@pytest.mark.parametrize(
    ("name", "first_line", "expected"),
    [
        ("a.csv", AZURE, "azure"),
        ("b.csv", BURST, "burstgpt"),
        ("m.jsonl", '{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": []}', "mooncake"),
        ("n.jsonl", '{"type":"tick","time_us":1}', "native"),
        ("n.jsonl", '{"type": "broken', "native"),
    ],
)
def test_format_is_found_by_the_first_line(write: Write, name: str, first_line: str, expected: str) -> None:
    assert detect_format(write(name, first_line)) == expected


@pytest.mark.parametrize(
    ("format_name", "text", "message"),
    [
        ("azure", "", "is empty"),
        ("azure", AZURE, "no requests"),
        ("azure", "time,tokens\n1,2\n", r"lacks TIMESTAMP, ContextTokens, GeneratedTokens; expected .* found time,"),
        ("azure", AZURE + "2023-11-16 18:15:46,374,44\nyesterday,1,1\n", "line 3: TIMESTAMP must look like"),
        ("azure", AZURE + "2023-11-16 18:15:46,-5,44\n", "line 2: ContextTokens must be a whole number"),
        ("azure", AZURE + "2023-11-16 18:15:46,5\n", "line 2: has 2 columns, the header has 3"),
        ("burstgpt", BURST + "soon,GPT-4,1,1,2,API log\n", "line 2: Timestamp must be seconds"),
        ("burstgpt", BURST + "nan,GPT-4,1,1,2,API log\n", "line 2: Timestamp is no time"),
        ("burstgpt", BURST + "1,,1,1,2,API log\n", "line 2: Model must have"),
        ("mooncake", "TIMESTAMP\n", "is no mooncake trace.*--format"),
        ("mooncake", '{"timestamp":1,"input_length":1,"output_length":1}\n{"timestamp":2}\n', "line 2: "),
        ("native", "not json\n", "holds no traffic event"),
        ("parquet", "x", "no such format: parquet. There are: native, azure"),
        ("", "a,b\n1,2\n", "in no format known here.*--format"),
    ],
)
def test_what_is_wrong_is_said(write: Write, format_name: str, text: str, message: str) -> None:
    with pytest.raises(ReplayError, match=message):
        open_source(write("trace", text), format_name)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"cannot read .*nowhere\.csv: No such file"):
        open_source(tmp_path / "nowhere.csv")


def test_foreign_source_knows_its_length_and_what_is_real(write: Write) -> None:
    rows = "".join(f"2023-11-16 18:15:{second:02d}.5000000,100,20\n" for second in range(10, 40))
    source = open_source(write("a.csv", AZURE + rows), seed=3)
    assert (source.format, source.requests, source.duration_us) == ("azure", 30, 29_000_000)
    assert source.start_us == source.recorded_start_us == 1_700_158_510_500_000
    events = list(source.events())
    requests = [event for event in events if isinstance(event, Request)]
    assert [request.time_us for request in requests] == [source.start_us + n * 1_000_000 for n in range(30)]
    assert {request.input_tokens for request in requests} == {100}
    assert len(events) == 60
    assert {"model", "organisation, tier"} <= {what for what, _ in source.modelled}


def test_foreign_source_can_be_moved_in_time_and_read_twice(write: Write) -> None:
    path = write(
        "m.jsonl",
        '{"timestamp":7,"input_length":5,"output_length":2}\n{"timestamp":9,"input_length":5,"output_length":2}',
    )
    source = open_source(path, seed=1, start_us=1_000_000)
    first, second = list(source.events()), list(source.events())
    assert first == second
    assert [event.time_us for event in first if isinstance(event, Request)] == [1_000_000, 1_002_000]


def test_burstgpt_source_keeps_the_traces_models_and_failures(write: Write) -> None:
    rows = "0,GPT-4,10,5,15,API log\n1,ChatGPT,10,0,10,API log\n2,GPT-4,10,5,15,API log\n"
    source = open_source(write("b.csv", BURST + rows))
    completions = {event.id: event for event in source.events() if isinstance(event, Completion)}
    assert source.models == ("GPT-4", "ChatGPT")
    assert sorted((c.model, bool(c.error_type)) for c in completions.values()) == [
        ("ChatGPT", True),
        ("GPT-4", False),
        ("GPT-4", False),
    ]
    assert not {"model", "errors"} & {what for what, _ in source.modelled}


def test_rows_out_of_order_within_a_chunk_are_put_right(write: Write) -> None:
    rows = "2023-11-16 18:15:12,2,1\n2023-11-16 18:15:10,1,1\n"
    requests = [e for e in open_source(write("a.csv", AZURE + rows)).events() if isinstance(e, Request)]
    assert [request.input_tokens for request in requests] == [1, 2]


def _request(number: int, time_us: int, model: str = "m-one", organisation: str = "acme") -> Request:
    return Request(id=f"r{number}", time_us=time_us, organisation=organisation, model=model, input_tokens=5)


def test_native_round_trip_keeps_order_and_passes_bad_lines_on(tmp_path: Path) -> None:
    events = [
        Deployment(id="d1", time_us=5, model="m-one", version="2"),
        _request(1, 1_000_000),
        b'{"type":"request","id":',
        _request(2, 900_000, model="m-two"),
        _request(3, 2_000_000, organisation="umbrella"),
        Tick(time_us=3_000_000),
    ]
    path = tmp_path / "n.jsonl"
    path.write_bytes(b"\n".join(native.lines(iter(events))) + b"\n\n")
    source = open_source(path)
    assert list(source.events()) == events
    assert (source.requests, source.events_hint) == (3, 6)
    assert (source.start_us, source.duration_us) == (900_000, 2_100_000)
    assert (source.models, source.organisations) == (("m-one", "m-two"), ("acme", "umbrella"))
    assert not source.relayed


def test_native_move_shifts_every_time_and_tells_of_relayed_events(tmp_path: Path) -> None:
    plan = Plan(id="p", time_us=500, organisation="acme", tier="pro")
    path = tmp_path / "n.jsonl"
    path.write_bytes(b"\n".join(native.lines(iter([_request(1, 1_000), Relayed(offset=4, event=plan), b"junk"]))))
    source = open_source(path, start_us=51_000)
    assert source.relayed
    assert list(source.events()) == [
        _request(1, 51_000),
        Relayed(offset=4, event=msgspec.structs.replace(plan, time_us=50_500)),
        b"junk",
    ]
