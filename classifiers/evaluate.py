"""Measure the keywords tier on a labelled pool: `python -m classifiers.evaluate POOL.jsonl.gz [--fold dev]`.

This is a tool, not part of the pure core. A line of the pool has `text`, `fold`, `source` and `labels` (hate,
self_harm, violence, sexual, jailbreak: 1, 0, or null where the source says nothing). A null is neither a positive nor a
negative: it is left out of that category's counts. No text is ever printed.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from classifiers.keywords import score_batch
from classifiers.verdict import CATEGORIES, Verdict

BATCH_TEXTS: Final = 512


class Example(msgspec.Struct, frozen=True):
    """One labelled text of the pool."""

    text: str
    labels: dict[str, int | None]
    fold: str = ""
    source: str = ""

    def label(self, category: str) -> int | None:
        """1, 0, or None where the source says nothing."""
        return self.labels.get(category.replace("-", "_"))


class Counts(msgspec.Struct):
    """What became of labelled texts of one category."""

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    passes: int = 0

    def add(self, label: int, flagged: bool) -> None:
        """Count one text with its label (1 or 0) and the verdict."""
        name = (("passes", "false_alarms"), ("misses", "hits"))[label][flagged]
        setattr(self, name, getattr(self, name) + 1)

    def cells(self) -> tuple[str, ...]:
        """Positives, recall, precision, negatives, false-positive rate as text; "-" where nothing is to divide."""
        positives, negatives = self.hits + self.misses, self.false_alarms + self.passes
        return (
            str(positives),
            _percent(self.hits, positives),
            _percent(self.hits, self.hits + self.false_alarms),
            str(negatives),
            _percent(self.false_alarms, negatives),
        )


Tally = dict[tuple[str, str], Counts]
"""Counts by (source, category)."""


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def read_pool(path: Path, fold: str) -> list[Example]:
    """The examples of a fold, from JSON lines, gzipped or not. Raises `OSError`, `msgspec.DecodeError`."""
    decoder = msgspec.json.Decoder(Example)
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        examples = [decoder.decode(line) for line in lines if line.strip()]
    return [example for example in examples if fold in ("all", example.fold)]


def judge(examples: list[Example]) -> Iterator[Verdict]:
    """Verdicts in order, with a progress bar."""
    starts = range(0, len(examples), BATCH_TEXTS)
    for start in track(starts, description="moderating", console=Console(stderr=True)):
        yield from score_batch([example.text for example in examples[start : start + BATCH_TEXTS]])


def tally(examples: Iterable[Example], verdicts: Iterable[Verdict]) -> Tally:
    """Count by source and category, and under "all" together. Null labels are left out."""
    counts: Tally = {}
    for example, verdict in zip(examples, verdicts, strict=True):
        for category in CATEGORIES:
            label = example.label(category)
            if label is not None:
                for source in (example.source, "all"):
                    counts.setdefault((source, category), Counts()).add(label, verdict.categories[category])
    return counts


def _table(counts: Tally, sources: list[str]) -> Table:
    table = Table("source", "category", "positives", "recall", "precision", "negatives", "false positives")
    for source in sources:
        for category in CATEGORIES:
            if (found := counts.get((source, category))) is not None:
                table.add_row(source, category, *found.cells())
    return table


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; exit status 0, or 2 when the pool cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m classifiers.evaluate", description="Score the keywords tier.")
    parser.add_argument("pool", type=Path, help="labelled JSON lines, .gz or not")
    parser.add_argument("--fold", default="dev", help="train, dev or all (default: dev)")
    parser.add_argument("--by-source", action="store_true", help="one block for each source as well")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        examples = read_pool(options.pool, options.fold)
    except (OSError, msgspec.DecodeError) as error:
        Console(stderr=True).print(f"cannot read the pool {options.pool}: {error}", style="red")
        return 2
    began = time.perf_counter()
    counts = tally(examples, list(judge(examples)))
    seconds = time.perf_counter() - began
    sizes = Counter(example.source for example in examples)
    console.print(_table(counts, [*(sorted(sizes) if options.by_source else ()), "all"]))
    console.print(f"{len(examples)} texts of fold {options.fold}, {len(examples) / max(seconds, 1e-9):.0f} texts/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
