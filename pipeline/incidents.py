"""The book of mitigation: which alert has which commands standing, and what is sent about them."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from pipeline.deployments import Deployments
from pipeline.rules import Rule
from pipeline.stage import Output, State
from topics.control import Command
from topics.fields import TEXT_CHARACTERS_MAX, TIME_US_MAX, Severity

NEVER_US = TIME_US_MAX + 1
CLOCK, AGENDA, DEPLOYMENTS = "clock", "agenda", "deployments"


class Clock(Struct, tag="clock"):
    """The partition's event time, and how many commands the current offset has caused so far."""

    time_us: int = 0
    offset: int = -1
    index: int = 0


class Agenda(Struct, tag="agenda"):
    """Every incident that is kept, oldest first, with the time at which something of it falls due."""

    due_us: dict[str, int] = {}


class Standing(Struct):
    """A command as last sent, and the rule it came from."""

    command: Command
    rule: Rule
    renewals: int = 0

    @property
    def thing(self) -> str:
        return thing_of(self.command.action, self.command.target)

    @property
    def pending(self) -> bool:
        return self.command.state == "pending_approval"

    @property
    def lives(self) -> bool:
        """Whether anything may still become of it: it waits for an answer, or can be undone."""
        return self.pending or (self.command.state == "issued" and self.rule.reversible)


class Incident(Struct, tag="incident"):
    """An alert that is watched. `muted`: a person judged it false. `covered`: what another incident did for it."""

    alert: str
    severity: Severity
    open: bool = True
    muted: bool = False
    commands: list[Standing] = []
    covered: list[str] = []


Value = Clock | Agenda | Deployments | Incident


def thing_of(action: str, target: str) -> str:
    return f"{action} {target}"


class Book:
    """One partition's incidents during one batch, over the stage's state."""

    def __init__(self, state: State[Value], partition: int) -> None:
        clock, agenda, deployments = state.get(CLOCK), state.get(AGENDA), state.get(DEPLOYMENTS)
        self.clock = clock if isinstance(clock, Clock) else Clock()
        self.deployments = deployments if isinstance(deployments, Deployments) else Deployments()
        self.outputs: list[Output] = []
        self._agenda = agenda if isinstance(agenda, Agenda) else Agenda()
        self._state = state
        self._partition = partition

    def __len__(self) -> int:
        return len(self._agenda.due_us)

    def turn_to(self, offset: int) -> None:
        """What is sent from here on was caused by `offset`."""
        if offset != self.clock.offset:
            self.clock.offset, self.clock.index = offset, 0
            self._state.put(CLOCK, self.clock)

    def advance(self, time_us: int) -> None:
        """Event time never goes back."""
        self.clock.time_us = max(self.clock.time_us, time_us)
        self._state.put(CLOCK, self.clock)

    def until(self, ttl_us: int) -> int:
        return min(self.clock.time_us + ttl_us, TIME_US_MAX)

    def send(self, command: Command) -> Command:
        """To subscribers and into the control log, numbered by the cause; a new command is named by its first event."""
        offset, index = self.clock.offset, self.clock.index
        self.clock.index += 1
        name = f"c{self._partition}-{offset}-{index}"
        sent = replace(
            command,
            id=name,
            command=command.command or name,
            time_us=self.clock.time_us,
            reason=command.reason[:TEXT_CHARACTERS_MAX],
            source=(self._partition, offset, index),
        )
        self._state.put(CLOCK, self.clock)
        self.outputs.append(Output(offset, "commands", sent.model, sent))
        self.outputs.append(Output(offset, "control", sent.id, sent))
        return sent

    def move(self, standing: Standing, state: str, reason: str, ttl_us: int | None = None) -> None:
        """One step in a command's life; without `ttl_us` its time runs on as before."""
        expires_us = standing.command.expires_us if ttl_us is None else self.until(ttl_us)
        changes = {"state": state, "reason": reason, "expires_us": expires_us}
        standing.command = self.send(replace(standing.command, **changes))

    def end(self, standing: Standing, why: str) -> None:
        """Undo what was done, withdraw what was only proposed."""
        self.move(standing, "expired" if standing.pending else "reversed", why)

    def find(self, alert: str) -> Incident | None:
        value = self._state.get(f"incident/{alert}")
        return value if isinstance(value, Incident) else None

    def all(self) -> list[Incident]:
        """Oldest first."""
        return [incident for name in self._agenda.due_us if (incident := self.find(name))]

    def due(self) -> list[Incident]:
        names = [name for name, due_us in self._agenda.due_us.items() if due_us <= self.clock.time_us]
        return [incident for name in names if (incident := self.find(name))]

    def keep(self, incident: Incident, due_us: int) -> None:
        """Save an incident, or forget it when nothing more can become of it."""
        if incident.open or incident.muted or due_us < NEVER_US:
            self._state.put(f"incident/{incident.alert}", incident)
            self._agenda.due_us[incident.alert] = due_us
        else:
            self._state.drop(f"incident/{incident.alert}")
            self._agenda.due_us.pop(incident.alert, None)
        self._state.put(AGENDA, self._agenda)

    def keep_deployments(self) -> None:
        self._state.put(DEPLOYMENTS, self.deployments)

    def living(self) -> Iterator[tuple[Incident, Standing]]:
        return ((incident, standing) for incident in self.all() for standing in incident.commands if standing.lives)
