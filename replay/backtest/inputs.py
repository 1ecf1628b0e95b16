"""What there is to run: files, folders and globs; each file's kind told by its first line, never by its name.

{"type": "window", …}              windows       what `tidegate follow windows --json` prints
{"type": "slice" | "mark", …}      slices        a recorded slices log, or a scenario's
{"start": …, "end": …, "kind": …}  labels        truth for the files of its folder
timestamp,value[,label]            series        one CSV a series
anything that `tidegate replay` reads            traffic
"""

import csv
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from replay.event import ReplayError
from replay.readers.lines import first_line
from replay.sources import detect_format

FILES_MAX = 10_000
SLICES_TYPES = ("slice", "mark")
LABEL_FIELDS = {"start", "end"}

Content = Literal["traffic", "windows", "slices", "series", "labels", "index"]


class Input(msgspec.Struct, frozen=True):
    """One file to run. `group`: series of one group are never on both sides of a split. `labels`: the labels that lie
    in its folder."""

    path: Path
    content: Content
    name: str
    group: str = ""
    labels: tuple[Path, ...] = ()


def content_of(path: Path, time_column: str, value_column: str) -> Content:
    """What a file holds. Raises ReplayError for what is none of it."""
    line = first_line(path)
    if line.startswith(b"{"):
        return _json_content(path, line)
    names = next(csv.reader([line.decode("utf-8-sig", errors="replace")]), [])
    if time_column in names and value_column in names:
        return "series"
    if "name" in names and value_column not in names and time_column not in names:
        return "index"
    detect_format(path)  # or it raises an error that names the formats
    return "traffic"


def _json_content(path: Path, line: bytes) -> Content:
    try:
        first = msgspec.json.decode(line, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReplayError(
            f"{path}, line 1: {error}. Expected JSON lines of windows, slices, traffic or labels"
        ) from error
    kind = first.get("type")
    if kind == "window":
        return "windows"
    if kind in SLICES_TYPES:
        return "slices"
    return "labels" if kind is None and first.keys() >= LABEL_FIELDS else "traffic"


def find(names: Sequence[str], time_column: str, value_column: str) -> tuple[list[Input], list[str]]:
    """The files to run, in the order given and by name within a folder, and notes on what was left out.

    Raises ReplayError where a name leads to nothing, or a named file is of no kind known here.
    """
    files = [file for name in names for file in _expanded(name)]
    if len(files) > FILES_MAX:
        raise ReplayError(f"{len(files)} files are more than a backtest takes ({FILES_MAX}): name fewer")
    contents: dict[Path, Content] = {}
    notes: list[str] = []
    for file, named in files:
        try:
            contents[file] = content_of(file, time_column, value_column)
        except ReplayError as error:
            if named:
                raise
            notes.append(f"left out: {error}")
    groups = _groups(contents)
    labels = [path for path, content in contents.items() if content == "labels"]
    slices_in = {path.parent for path, content in contents.items() if content == "slices"}
    found = []
    for path, content in contents.items():
        if content in ("labels", "index"):
            continue
        if (
            content == "windows"
            and path.parent in slices_in
            and not any(path == file for file, named in files if named)
        ):
            notes.append(f"left out: {path}: the windows of the slices beside it")
            continue
        name = _name(path)
        beside = tuple(label for label in labels if label.parent == path.parent)
        found.append(Input(path, content, name, groups.get((path.parent, name), name), beside))
    if not found:
        raise ReplayError(f"{', '.join(names)}: nothing to run: name traffic, windows, slices or series")
    return _distinct(found), notes


def _expanded(name: str) -> Iterator[tuple[Path, bool]]:
    """The files that a name means, and whether the user named each: what lies in a folder may be left out."""
    path = Path(name)
    if path.is_dir():
        yield from (
            (file, False) for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")
        )
    elif path.exists():
        yield path, True
    else:
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - a glob may be absolute, which Path.glob refuses
        if not matches:
            raise ReplayError(f"{name}: no such file or folder, and nothing matches it")
        yield from ((Path(match), True) for match in matches if Path(match).is_file())


def _name(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def _distinct(found: list[Input]) -> list[Input]:
    """Names that several files share get their folder in front."""
    names = [each.name for each in found]
    return [
        msgspec.structs.replace(each, name=f"{each.path.parent.name}/{each.name}")
        if names.count(each.name) > 1
        else each
        for each in found
    ]


def _groups(contents: dict[Path, Content]) -> dict[tuple[Path, str], str]:
    """Groups of series as an index beside them (CSV with `name` and `group`) gives them."""
    groups: dict[tuple[Path, str], str] = {}
    for path, content in contents.items():
        if content == "index":
            with path.open(newline="", encoding="utf-8", errors="replace") as lines:
                for row in csv.DictReader(lines):
                    if row.get("group"):
                        groups[path.parent, row["name"]] = row["group"]
    return groups
