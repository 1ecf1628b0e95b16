"""`tidegate moderate FILE.jsonl`: one moderation result for each line, in order."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, NamedTuple

import msgspec
import typer

from pipeline.commands.shared import TASK, UserError, opened_input, opened_output, progress_bar, size_bytes

LINES_A_BATCH = 512


class Line(NamedTuple):
    """One input line. `text` is None where `error` says what is wrong with it; `carried` is copied to the output."""

    carried: dict[str, Any]
    text: str | None
    error: str


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def read_line(number: int, raw: bytes) -> Line:
    """Take a line apart. Never raises."""
    try:
        found = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "the line is empty" if not raw.strip() else f"not JSON in UTF-8: {error}"
        return Line({}, None, f"line {number}: {reason}")
    if not isinstance(found, dict):
        return Line({}, None, f'line {number}: not a JSON object; give {{"text": "..."}}')
    carried = {"id": found["id"]} if "id" in found else {}
    if "text" not in found:
        fields = ", ".join(sorted(found)[:10]) or "none"
        return Line(carried, None, f'line {number}: no field "text" (fields there: {fields})')
    if not isinstance(found["text"], str):
        return Line(carried, None, f'line {number}: "text" is no string')
    return Line(carried, found["text"], "")


def results(lines: list[Line]) -> Iterator[bytes]:
    """The output line (without its newline) of each input line."""
    from classifiers.tiers import default_tiers, judge_by_cascade
    from classifiers.verdict import moderation_result

    verdicts = iter(judge_by_cascade([line.text for line in lines if line.text is not None], default_tiers()))
    for line in lines:
        if line.text is None:
            yield _encode({**line.carried, "error": line.error})
        else:
            yield _encode({**line.carried, **moderation_result(next(verdicts))})


def moderate(
    file: Annotated[
        str, typer.Argument(metavar="FILE.jsonl|-", help='Lines of JSON with "text"; .gz is unpacked; - is stdin.')
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT.jsonl", help="Where to write; - is stdout.")
    ] = "-",
) -> None:
    """Judge texts: hate, self-harm, violence, sexual, jailbreak.

    Writes one line for each input line, in order, shaped as OpenAI's moderation result: "flagged", "categories",
    "category_scores" in [0, 1], and the "tier" that decided; an "id" is carried over. A line that cannot be read
    becomes a line with "error", and the exit code is 1.
    """
    bad = total = 0
    with (
        opened_input(file) as source,
        opened_output(output, file) as target,
        progress_bar(f"moderating {file}", size_bytes(file), "texts") as progress,
    ):
        numbered = enumerate(source, 1)
        while batch := list(islice(numbered, LINES_A_BATCH)):
            lines = [read_line(number, raw.rstrip(b"\r\n")) for number, raw in batch]
            target.write(b"".join(result + b"\n" for result in results(lines)))
            total += len(lines)
            bad += sum(line.text is None for line in lines)
            progress.update(TASK, advance=sum(len(raw) for _, raw in batch), count=f"{total:,}")
    if bad:
        raise UserError(f'{bad} of {total} lines could not be judged: look for "error" in the output')
