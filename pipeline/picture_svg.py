"""The flow as an SVG that stands on light and dark pages: a lane for each log, chains of stages in it, topics below."""

import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from pipeline.flow import FLOW, LOGS, Row
from pipeline.picture import chains

MARGIN, PADDING = 24, 16
LOG_WIDTH, LOG_HEIGHT = 136, 52
STAGE_WIDTH, STAGE_HEIGHT = 216, 78
LINK_WIDTH = 84  # between two stages of a chain, with the link's name above the arrow
BRANCH_WIDTH = 46  # between a log and its stages
STAGES_LEFT = MARGIN + PADDING + LOG_WIDTH + BRANCH_WIDTH
CHIP_HEIGHT, CHIP_GAP = 22, 6
CHIP_LETTER = 7.6  # width of a letter at the chip's size, a little more than measured
ROW_HEIGHT = STAGE_HEIGHT + CHIP_HEIGHT + 28
RAIL_HEIGHT = 30  # above the boxes, for the lines into those that are not first
LANE_GAP = 20
ABOUT_LETTERS = 32  # a line of a stage's box

LOG_NOTES = {
    "traffic": "requests, completions",
    "slices": "10 s of a partition",
    "control": "all that steers",
}
STYLE = """
  text{font-family:ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}
  .page{fill:#fff;stroke:#d0d7de}
  .lane{fill:#f6f8fa}
  .stage{fill:#fff;stroke:#8c959f;stroke-width:1.2}
  .name{font-size:14.5px;font-weight:650}
  .about{font-size:11.5px;fill:#59636e}
  .link{font-size:11.5px;font-style:italic;fill:#59636e}
  .log{fill:#0b6bcb}
  .logname{font-size:14.5px;font-weight:650;fill:#fff}
  .lognote{font-size:10.5px;fill:#dcebfb}
  .arrow{stroke:#59636e;stroke-width:1.5;fill:none}
  .tip{fill:#59636e}
  .chip{fill:#1a7f4b}
  .chiptext{font-size:12px;fill:#fff;font-weight:550}
  .back{fill:none;stroke:#0b6bcb;stroke-width:1.3}
  .backtext{font-size:12px;fill:#0b6bcb;font-weight:550}
  @media (prefers-color-scheme:dark){
    text{fill:#f0f6fc}
    .page{fill:#0d1117;stroke:#30363d}
    .lane{fill:#151b23}
    .stage{fill:#0d1117;stroke:#656c76}
    .about,.link{fill:#9da7b3}
    .log{fill:#1f6feb}
    .logname{fill:#fff}
    .arrow{stroke:#9da7b3}
    .tip{fill:#9da7b3}
    .chip{fill:#238a54}
    .back{stroke:#58a6ff}
    .backtext{fill:#58a6ff}
  }
"""


class Placed(NamedTuple):
    """A chain of stages with its place: the upper left corner of its first box. `first`: of its line in the lane."""

    chain: list[Row]
    x: int
    y: int
    first: bool


def svg_picture(rows: Sequence[Row] = FLOW) -> str:
    """The picture as the text of an SVG file; the same for the same table."""
    lanes = {log: chains(log, rows) for log in LOGS}
    columns = max(len(chain) for its_chains in lanes.values() for chain in its_chains)
    width = STAGES_LEFT + columns * (STAGE_WIDTH + LINK_WIDTH) - LINK_WIDTH + MARGIN + PADDING
    body: list[str] = []
    y = MARGIN
    for log, its_chains in lanes.items():
        placed = list(_placed(its_chains, columns, y + RAIL_HEIGHT))
        height = placed[-1].y + ROW_HEIGHT - y
        body.append(f'<rect class="lane" x="{MARGIN}" y="{y}" width="{width - 2 * MARGIN}" height="{height}" rx="12"/>')
        body += _lane(log, placed)
        y += height + LANE_GAP
    body += _legend(y)
    return "\n".join([*_opening(width, y + CHIP_HEIGHT + MARGIN), *body, "</svg>", ""])


def _opening(width: int, height: int) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="The flow of Tidegate: logs, stages and topics">'
    )
    yield f"<style>{STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    yield f'<rect class="page" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="14"/>'


def _placed(its_chains: list[list[Row]], columns: int, top: int) -> Iterator[Placed]:
    """Chains side by side while there is room in a line, else in a line below."""
    column, y = 0, top
    for chain in its_chains:
        if column and column + len(chain) > columns:
            column, y = 0, y + ROW_HEIGHT + RAIL_HEIGHT
        yield Placed(chain, STAGES_LEFT + column * (STAGE_WIDTH + LINK_WIDTH), y, column == 0)
        column += len(chain)


def _lane(log: str, placed: list[Placed]) -> Iterator[str]:
    left, middle = MARGIN + PADDING, placed[0].y + STAGE_HEIGHT // 2
    y = middle - LOG_HEIGHT // 2
    for each in placed:
        yield _branch(left + LOG_WIDTH, middle, each)
    yield f'<rect class="log" x="{left}" y="{y}" width="{LOG_WIDTH}" height="{LOG_HEIGHT}" rx="{LOG_HEIGHT // 2}"/>'
    yield _text("logname", left + LOG_WIDTH // 2, y + 23, log, "middle")
    yield _text("lognote", left + LOG_WIDTH // 2, y + 38, LOG_NOTES[log], "middle")
    for each in placed:
        for index, row in enumerate(each.chain):
            yield from _stage(row, each.x + index * (STAGE_WIDTH + LINK_WIDTH), each.y)


def _branch(x: int, start: int, placed: Placed) -> str:
    """The line from a log's pill to a chain: into the first box of a line from the left, into the others from above."""
    trunk, middle = x + 16, placed.y + STAGE_HEIGHT // 2
    if not placed.first:
        rail, down = placed.y - RAIL_HEIGHT // 2, placed.x + STAGE_WIDTH // 2
        bend = f"H{trunk - 8}q8 0 8 -8V{rail + 8}q0 -8 8 -8H{down - 8}q8 0 8 8V{placed.y - 1}"
    elif start == middle:
        bend = f"H{STAGES_LEFT - 1}"
    else:
        bend = f"H{trunk - 8}q8 0 8 8V{middle - 8}q0 8 8 8H{STAGES_LEFT - 1}"
    return f'<path class="arrow" marker-end="url(#tip)" d="M{x} {start}{bend}"/>'


def _stage(row: Row, x: int, y: int) -> Iterator[str]:
    yield f'<rect class="stage" x="{x}" y="{y}" width="{STAGE_WIDTH}" height="{STAGE_HEIGHT}" rx="9"/>'
    yield _text("name", x + 14, y + 24, row.stage)
    for number, line in enumerate(textwrap.wrap(row.about, ABOUT_LETTERS)[:3]):
        yield _text("about", x + 14, y + 42 + number * 14, line)
    if row.passes:
        middle = y + STAGE_HEIGHT // 2
        yield f'<path class="arrow" marker-end="url(#tip)" d="M{x + STAGE_WIDTH} {middle}h{LINK_WIDTH - 1}"/>'
        yield _text("link", x + STAGE_WIDTH + LINK_WIDTH // 2 - 2, middle - 7, row.passes, "middle")
    yield from _chips(row, x, y + STAGE_HEIGHT)


def _chips(row: Row, x: int, y: int) -> Iterator[str]:
    left = x + 14
    for topic in row.writes:
        width = _chip_width(topic)
        yield f'<path class="arrow" d="M{left + 12} {y}v{12}"/>'
        yield from _chip(topic, left, y + 12, width)
        left += width + CHIP_GAP


def _chip_width(topic: str) -> int:
    return round(len(topic) * CHIP_LETTER) + 20


def _chip(topic: str, x: int, y: int, width: int) -> Iterator[str]:
    shape, text = ("back", "backtext") if topic in LOGS else ("chip", "chiptext")
    yield f'<rect class="{shape}" x="{x}" y="{y}" width="{width}" height="{CHIP_HEIGHT}" rx="{CHIP_HEIGHT // 2}"/>'
    yield _text(text, x + width // 2, y + 15, topic, "middle")


def _legend(y: int) -> Iterator[str]:
    x = MARGIN + 16
    for sample, about in (
        ("topic", "a topic to subscribe to"),
        (LOGS[0], "written into a log: read again by its lane"),
    ):
        width = _chip_width(sample)
        yield from _chip(sample, x, y, width)
        yield _text("about", x + width + 8, y + 15, about)
        x += width + 8 + round(len(about) * 6.1) + 26
    yield f'<path class="arrow" marker-end="url(#tip)" d="M{x} {y + 11}h34"/>'
    yield _text("about", x + 44, y + 15, "named: a link, in one process or over an internal topic")


def _text(style: str, x: int, y: int, content: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(content)}</text>'
