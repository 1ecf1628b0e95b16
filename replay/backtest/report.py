"""Writes a backtest's folder: index.html, one page that needs nothing else, and backtest.json."""

from collections.abc import Sequence
from pathlib import Path

from replay.backtest.model import Judgement
from replay.backtest.page import html
from replay.backtest.result import Result, encoded

HTML_NAME = "index.html"
JSON_NAME = "backtest.json"


def write(folder: Path, result: Result, judged: Sequence[Judgement]) -> Path:
    """Write both files into `folder` (made if missing); the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON_NAME).write_bytes(encoded(result))
    path = folder / HTML_NAME
    path.write_text(html(result, judged), encoding="utf-8")
    return path
