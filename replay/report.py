"""The report of a run: one HTML file that needs nothing else, and the same facts as report.json."""

from pathlib import Path

import msgspec

from replay.collect import Collected
from replay.facts import Run, facts
from replay.page import html
from replay.score import Score
from replay.sources import Source

__all__ = ["HTML_NAME", "JSON_NAME", "Run", "facts", "write"]

HTML_NAME = "report.html"
JSON_NAME = "report.json"


def write(folder: Path, run: Run, source: Source, collected: Collected, score: Score) -> Path:
    """Write report.html and report.json into `folder` (made if missing); the HTML file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    known = facts(run, source, collected, score)
    (folder / JSON_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=2))
    path = folder / HTML_NAME
    path.write_text(html(known, source, collected), encoding="utf-8")
    return path
