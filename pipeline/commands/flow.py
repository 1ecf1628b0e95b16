"""`tidegate flow`: the stages and topics as a picture."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from pipeline.commands.shared import console, write_text


class Format(StrEnum):
    """How to draw it."""

    text = "text"
    mermaid = "mermaid"
    svg = "svg"


def flow(
    form: Annotated[Format, typer.Option("--format", help="`text` adds a table of the stages.")] = Format.text,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - for stdout.")] = "-",
) -> None:
    """Draw the flow: which stage reads what, writes what, and passes on to which."""
    if form is Format.text and output == "-":
        _print_text()
        return
    write_text(output, _drawn(form))


def _drawn(form: Format) -> str:
    from pipeline.picture import ascii_picture, mermaid
    from pipeline.picture_svg import svg_picture

    draw = {Format.text: lambda: ascii_picture() + "\n", Format.mermaid: mermaid, Format.svg: svg_picture}
    return draw[form]()


def _print_text() -> None:
    from pipeline.flow import FLOW

    out = console()
    out.print(_drawn(Format.text), markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "reads", "keyed by", "writes", "passes", "about"):
        table.add_column(heading, no_wrap=heading != "about")
    for row in FLOW:
        table.add_row(row.stage, row.reads, row.keyed_by, ", ".join(row.writes), row.passes, row.about)
    out.print(table)
