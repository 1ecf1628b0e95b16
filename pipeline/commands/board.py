"""What a replay shows while it runs: happenings as lines that scroll by, and below them how far it has come."""

import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.commands.lines import COMMAND_STYLE, LINES, OUTCOME_STYLE, SEVERITY_STYLE, STATUS_STYLE
from replay.incidents import Incident
from topics.fields import SECOND_US

REFRESH_PER_S = 4
PLAIN_STATUS_EVERY_S = 10.0
DEAD_LETTERS_TOLD_MAX = 5
TOLD = {
    "alerts": "alert",
    "incidents": "incident",
    "commands": "command",
    "jobs": "scheduler",
    "invalidations": "cache",
    "dead-letters": "dead letter",
}
HAPPENINGS_MAX = 400  # lines; after them only the counts go on


def _brief(alias: str, value: Any) -> list[tuple[str, str]]:
    """A happening without what the lines around it have said already; `tidegate follow` tells all."""
    if alias == "alerts":
        return [
            (f"{value.severity:8} {value.status:9}", SEVERITY_STYLE[value.severity]),
            (value.summary, STATUS_STYLE[value.status]),
        ]
    if alias == "incidents":
        return [(f"{value.severity:8} {value.status:9}", SEVERITY_STYLE[value.severity]), (value.title, "bold")]
    if alias == "commands":
        waits = f"waits for a person: tidegate approve {value.command}" if value.state == "pending_approval" else ""
        return [
            (f"{value.state:16}", COMMAND_STYLE[value.state]),
            (f"{value.action} {value.target}", ""),
            (waits, "bold magenta"),
            (f"[{value.command}]", "dim"),
        ]
    if alias == "invalidations":
        return [(f"{value.model}: entries before epoch {value.epoch} are dead", "")]
    return LINES[alias](value)


class Board:
    """Counts and tells. Time is event time since the recording's start; `console` decides whether lines are live."""

    def __init__(
        self,
        console: Console,
        title: str,
        start_us: int,
        duration_us: int,
        requests: int,
        incidents: tuple[Incident, ...],
    ) -> None:
        self._console = console
        self._title = title
        self._start_us = start_us
        self._duration_us = max(duration_us, 1)
        self._requests = requests
        self._to_begin = sorted(incidents, key=lambda incident: incident.start_us)
        self._to_end = sorted(incidents, key=lambda incident: incident.end_us)
        self._time_us = start_us
        self._sent: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._happened = 0
        self._began = time.monotonic()
        self._status_at = self._began
        self._speeds: list[tuple[float, int]] = []
        self._live = Live(self, console=console, refresh_per_second=REFRESH_PER_S, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def sent(self, counts: Counter[str], time_us: int) -> None:
        """The replay has come this far."""
        self._sent = counts
        self._time_us = max(self._time_us, time_us)
        while self._to_begin and self._to_begin[0].start_us <= time_us:
            self._tell_incident(self._to_begin.pop(0), "begins")
        while self._to_end and self._to_end[0].end_us <= time_us:
            self._tell_incident(self._to_end.pop(0), "ends")
        self._note_speed()

    def received(self, alias: str, value: Any) -> None:
        """The pipeline wrote a record."""
        self._counts[alias] += 1
        if alias == "decisions":
            self._outcomes[value.outcome] += 1
        elif alias in TOLD and not self._is_noise(alias, value):
            self.tell(value.time_us, TOLD[alias], _brief(alias, value))

    def _is_noise(self, alias: str, value: Any) -> bool:
        """What answers no command, and dead letters after the first few."""
        if alias == "dead-letters":
            return self._counts[alias] > DEAD_LETTERS_TOLD_MAX
        return alias in ("jobs", "invalidations") and not value.command

    def tell(self, time_us: int, who: str, parts: list[tuple[str, str]]) -> None:
        """One happening as a line."""
        self._happened += 1
        if self._happened > HAPPENINGS_MAX:
            return
        line = Text(f"{self.clock(time_us)}  ", style="dim")
        line.append(f"{who:9} ", style="bold not dim")
        for part, style in parts:
            if part.strip():
                line.append(f" {part.strip()}".replace("\n", " "), style=style or "not dim")
        self._console.print(line, no_wrap=True, overflow="ellipsis", crop=self._console.is_terminal)

    def clock(self, time_us: int) -> str:
        """`+1:02:03`: event time since the recording's start."""
        seconds = max(0, time_us - self._start_us) // SECOND_US
        return f"+{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def _tell_incident(self, incident: Incident, verb: str) -> None:
        time_us = incident.start_us if verb == "begins" else incident.end_us
        self.tell(time_us, "injected", [(f"{incident.kind} {verb}", "magenta"), (f"on {incident.target}", "")])

    def _note_speed(self) -> None:
        now = time.monotonic()
        self._speeds = [*self._speeds[-40:], (now, self._sent["request"])]
        if not self._console.is_terminal and now - self._status_at > PLAIN_STATUS_EVERY_S:
            self._status_at = now
            self._console.print(f"{self.clock(self._time_us)}  status     {self._status_line()}")

    def _per_second(self) -> float:
        if len(self._speeds) < 2:
            return 0.0
        (then, before), (now, after) = self._speeds[0], self._speeds[-1]
        return (after - before) / max(now - then, 1e-6)

    def _status_line(self) -> str:
        decided = ", ".join(f"{self._outcomes[outcome]:,} {outcome}" for outcome in OUTCOME_STYLE)
        return (
            f"{self._sent['request']:,} requests sent ({self._per_second():,.0f}/s), {decided}, "
            f"{self._counts['windows']} windows closed, {self._counts['anomalies']} anomalies"
        )

    def __rich__(self) -> RenderableType:
        done = min(1.0, (self._time_us - self._start_us) / self._duration_us)
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column()
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        elapsed = time.monotonic() - self._began
        bar.add_row(
            f"{self.clock(self._time_us)} of {self.clock(self._start_us + self._duration_us)[1:]}",
            ProgressBar(total=1.0, completed=done),
            f"{done:4.0%} in {elapsed:.0f} s",
        )
        facts = Table.grid(padding=(0, 3))
        facts.add_row(
            f"[bold]{self._sent['request']:,}[/] requests  [dim]{self._per_second():,.0f}/s[/]",
            "  ".join(f"[{style}]{self._outcomes[outcome]:,}[/] {outcome}" for outcome, style in OUTCOME_STYLE.items()),
        )
        facts.add_row(
            f"[bold]{self._counts['windows']:,}[/] windows closed",
            f"[bold]{self._counts['anomalies']:,}[/] anomalies  [bold]{self._counts['alerts']:,}[/] alert events  "
            f"[bold]{self._counts['commands']:,}[/] command events  "
            f"[bold]{self._counts['dead-letters']:,}[/] dead letters",
        )
        return Panel(Group(bar, facts), title=self._title, title_align="left", border_style="blue")
