"""Files are told apart by what they hold; labels are read in every notation, and errors name the line."""

import gzip
from pathlib import Path

import pytest

from replay.backtest import inputs, labels
from replay.event import ReplayError
from tests.replay.backtest import files
from tests.replay.records import at, window

COLUMNS = ("timestamp", "value")
MARK = b'{"type":"mark","id":"0-1","time_us":1,"partition":0,"partitions":1,"offset":1}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    files.series(tmp_path / "k1.txt", [], [], rows=5)
    (tmp_path / "deep" / "k2.gz").write_bytes(gzip.compress((tmp_path / "k1.txt").read_bytes()))
    files.windows(tmp_path / "w.csv", [window(0)])
    files.windows(tmp_path / "deep" / "w.jsonl", [window(0)])
    (tmp_path / "deep" / "s.jsonl").write_bytes(MARK)
    files.labels(tmp_path / "truth", files.label(1, 2))
    (tmp_path / "azure").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n")
    (tmp_path / "index.csv").write_text("name,group\nk1,left\n")
    (tmp_path / "notes.md").write_text("# nothing\n")
    return tmp_path


def test_every_kind_is_told_by_its_first_line(folder: Path) -> None:
    found, notes = inputs.find([str(folder)], *COLUMNS)
    assert {one.path.relative_to(folder).as_posix(): one.content for one in found} == {
        "azure": "traffic",
        "deep/k2.gz": "series",
        "deep/s.jsonl": "slices",
        "k1.txt": "series",
        "w.csv": "windows",
    }
    by_name = {one.name: one for one in found}
    assert (by_name["k1"].group, by_name["k2"].group) == ("left", "k2")
    assert by_name["w"].labels == (folder / "truth",)
    assert by_name["s"].labels == ()
    assert any("notes.md" in note for note in notes)
    assert any("w.jsonl: the windows of the slices beside it" in note for note in notes)


def test_globs_and_named_files(folder: Path) -> None:
    found, _ = inputs.find([str(folder / "**" / "k*"), str(folder / "deep" / "w.jsonl")], *COLUMNS)
    assert [one.path.name for one in found] == ["k2.gz", "k1.txt", "w.jsonl"]


@pytest.mark.parametrize("name", ["none.csv", "notes.md", "truth"])
def test_a_name_that_leads_to_nothing_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(ReplayError, match=name.split(".")[0]):
        inputs.find([str(folder / name)], *COLUMNS)


def test_files_of_one_name_get_their_folder_in_front(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.windows(tmp_path / name / "w.jsonl", [window(0)])
    found, _ = inputs.find([str(tmp_path)], *COLUMNS)
    assert [one.name for one in found] == ["a/w", "b/w"]


def test_times_in_every_notation(tmp_path: Path) -> None:
    path = files.labels(
        tmp_path / "labels",
        b'{"start":"2026-03-01T12:00:00Z","end":"2026-03-01T12:10:00+00:00"}',
        b'{"start":1772366400,"end":1772367000.0,"kind":"k","fast":true}',
        b'{"start":1772366400000000,"end":1772367000000000}',
        b'{"start":600,"end":1200}',
    )
    found = labels.read([path])
    noon_us = 1_772_366_400_000_000
    assert {(one.start_us, one.end_us) for one in found[:3]} == {(noon_us, noon_us + 600_000_000)}
    assert [one.kind for one in found] == ["event", "k", "event", "event"]
    last = found[3].at(at(0))
    assert (last.start_us, last.end_us, last.relative) == (at(10), at(20), False)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "line 2: "),
        (b'{"start":"noon","end":5}', "line 2: 'noon' is neither"),
        (b'{"start":5,"end":4}', "line 2: the end lies before the start"),
        (b'{"start":5,"end":"2026-03-01"}', "line 2: start and end are of different kinds"),
        (b'{"end":4}', "line 2: .*start"),
    ],
)
def test_a_bad_label_is_named_with_its_line(tmp_path: Path, line: bytes, says: str) -> None:
    path = files.labels(tmp_path / "labels", files.label(1, 2), line)
    with pytest.raises(ReplayError, match=says):
        labels.read([path])
