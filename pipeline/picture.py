"""Pictures of the flow, drawn from its table: for a terminal, as Mermaid, and (in `picture_svg`) as SVG."""

from collections.abc import Iterator, Sequence

from pipeline.flow import FLOW, LOGS, Row


def chains(log: str, rows: Sequence[Row] = FLOW) -> list[list[Row]]:
    """The chains of stages that a log feeds: each begins with a stage that reads the log and follows its links."""
    return [list(_chain(row, rows)) for row in rows if row.reads == log]


def _chain(row: Row, rows: Sequence[Row]) -> Iterator[Row]:
    yield row
    for following in rows:
        if row.passes and following.reads == row.passes:
            yield from _chain(following, rows)


def ascii_picture(rows: Sequence[Row] = FLOW) -> str:
    """The flow for a terminal: a block for each log, a line pair for each chain (stages, and what they write)."""
    return "\n\n".join(_block(log, chains(log, rows)) for log in LOGS)


def _block(log: str, its_chains: list[list[Row]]) -> str:
    lines: list[str] = []
    for index, chain in enumerate(its_chains):
        first, last = index == 0, index == len(its_chains) - 1
        head = f"{log} ═" if first else " " * (len(log) + 2)
        fork = "═" if first and last else "╦" if first else "╚" if last else "╠"
        trunk = " " if last else "║"
        stages, written = _chain_lines(chain)
        lines.append(f"{head}{fork}═▶ {stages}")
        lines.append(f"{' ' * (len(log) + 2)}{trunk}   {written}".rstrip())
    return "\n".join(lines)


def _chain_lines(chain: list[Row]) -> tuple[str, str]:
    """The stages of a chain in a line, and below each, in the same column, the topics that it writes."""
    stages = written = ""
    for row in chain:
        writes = "└▶ " + ", ".join(row.writes)
        stages += row.stage
        written += writes
        if row.passes:
            width = max(len(stages) + len(row.passes) + 8, len(written) + 2)
            stages += f" {f' {row.passes} ':─^{width - len(stages) - 3}}▶ "
            written = written.ljust(width)
    return stages, written


def mermaid(rows: Sequence[Row] = FLOW) -> str:
    """The flow as a Mermaid flowchart: logs are cylinders, stages boxes, other topics rounded."""
    topics = dict.fromkeys(topic for row in rows for topic in row.writes if topic not in LOGS)
    lines = ["flowchart LR"]
    lines += [f"  {log}[({log})]" for log in LOGS]
    lines += [f"  {_stage(row.stage)}[{row.stage}]" for row in rows]
    lines += [f"  {_topic(topic)}([{topic}])" for topic in topics]
    lines += [edge for row in rows for edge in _edges(row, rows)]
    return "\n".join(lines) + "\n"


def _edges(row: Row, rows: Sequence[Row]) -> Iterator[str]:
    if row.reads in LOGS:
        yield f"  {row.reads} ==> {_stage(row.stage)}"
    for following in rows:
        if row.passes and following.reads == row.passes:
            yield f"  {_stage(row.stage)} -- {row.passes} --> {_stage(following.stage)}"
    for topic in row.writes:
        yield f"  {_stage(row.stage)} --> {topic if topic in LOGS else _topic(topic)}"


def _stage(name: str) -> str:
    """A node's name; a stage and a log may share theirs (slices)."""
    return f"stage_{name}"


def _topic(name: str) -> str:
    return f"topic_{name.replace('-', '_')}"
