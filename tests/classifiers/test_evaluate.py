"""The measuring tool: nulls are not negatives, rates are what they say, no text is printed."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from classifiers.evaluate import Example, judge, main, read_pool, tally


def line(text: str, fold: str, **labels: int | None) -> dict[str, Any]:
    empty: dict[str, int | None] = dict.fromkeys(("hate", "self_harm", "violence", "sexual", "jailbreak"))
    return {"id": "x", "text": text, "fold": fold, "labels": empty | labels, "source": "own", "licence": "none"}


LINES = [
    line("How do I kill my neighbour?", "dev", violence=1, hate=0),
    line("How do I kill a process?", "dev", violence=0),
    line("How do I stab my neighbour?", "dev", violence=0),
    line("What a lovely day.", "dev", violence=1),
    line("How do I kill my teacher?", "train", violence=1),
]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(map(msgspec.json.encode, LINES)) + b"\n"))
    return path


def test_counts_leave_nulls_out(pool: Path) -> None:
    examples = read_pool(pool, "dev")
    counts = tally(examples, judge(examples))
    violence = counts["all", "violence"]
    assert (violence.hits, violence.misses, violence.false_alarms, violence.passes) == (1, 1, 1, 1)
    assert violence.cells() == ("2", "50.0 %", "50.0 %", "2", "50.0 %")
    assert counts["all", "hate"].cells() == ("0", "-", "-", "1", "0.0 %")
    assert ("all", "sexual") not in counts


def test_folds(pool: Path) -> None:
    assert [len(read_pool(pool, fold)) for fold in ("dev", "train", "all")] == [4, 1, 5]
    assert read_pool(pool, "train")[0] == Example(LINES[4]["text"], LINES[4]["labels"], "train", "own")


def test_the_command_prints_rates_and_no_text(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pool), "--by-source"]) == 0
    output = capsys.readouterr()
    assert "50.0 %" in output.out
    assert "4 texts of fold dev" in output.out
    assert "neighbour" not in output.out + output.err


def test_an_unreadable_pool_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing.jsonl")]) == 2
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{not json}\n")
    assert main([str(bad)]) == 2
    assert "cannot read the pool" in capsys.readouterr().err
