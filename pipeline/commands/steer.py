"""What a person tells the pipeline: approve, reject, deploy, maintenance, launch, plan, feedback: control events."""

import getpass
import time
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from pipeline.commands.follow import records
from pipeline.commands.lines import clock, line
from pipeline.commands.shared import BrokerOption, UserError, broker_address, console, run_async
from pipeline.commands.status import find_alert
from topics.codec import decoder
from topics.control import FACTOR_MAX, Approval, Command, ControlEvent, Deployment, Feedback, Launch, Maintenance, Plan
from topics.fields import MINUTE_US
from topics.table import BY_ALIAS

PENDING = "pending_approval"
MINUTES_MAX = 60 * 24 * 30


class Tier(StrEnum):
    """What an organisation can buy."""

    free = "free"
    pro = "pro"
    enterprise = "enterprise"


class Judgement(StrEnum):
    """What a person can say of an alert."""

    true = "true"
    false = "false"
    note = "note"


CommandArgument = Annotated[
    str,
    typer.Argument(metavar="[ID]", help="The command's id, as `tidegate follow commands` shows it; none: list them."),
]
ByOption = Annotated[str, typer.Option("--by", help="Who answers; by default your user name.")]

StartOption = Annotated[str, typer.Option("--start", metavar="TIME", help="ISO 8601; by default now.")]
ReasonOption = Annotated[str, typer.Option(help="For the record.")]


def approve(command: CommandArgument = "", by: ByOption = "", broker: BrokerOption = "") -> None:
    """Let a command go ahead that waits for a person. Without an id: list those that wait."""
    _answer(broker_address(broker), command, by, approved=True)


def reject(command: CommandArgument = "", by: ByOption = "", broker: BrokerOption = "") -> None:
    """Forbid a command that waits for a person. Without an id: list those that wait."""
    _answer(broker_address(broker), command, by, approved=False)


def deploy(
    model: Annotated[str, typer.Argument(help="The model, as requests name it.")],
    version: Annotated[str, typer.Argument(help="The version that went live.")],
    stable: Annotated[str, typer.Option(help="The version to return to if this one misbehaves.")] = "",
    broker: BrokerOption = "",
) -> None:
    """Say that a model version went live: detection observes for a while before its thresholds count again."""
    _say(broker, Deployment, model=model, version=version, stable=stable)


def maintenance(
    minutes: Annotated[int, typer.Argument(min=1, max=MINUTES_MAX, help="How long, in minutes.")],
    model: Annotated[str, typer.Option(help="Only this model; every model without it.")] = "",
    start: StartOption = "",
    reason: ReasonOption = "",
    broker: BrokerOption = "",
) -> None:
    """Announce a time in which anomalies are recorded and alert nobody."""
    start_us = _time_us(start) if start else _now_us()
    _say(broker, Maintenance, start_us=start_us, end_us=start_us + minutes * MINUTE_US, model=model, reason=reason)


def launch(
    minutes: Annotated[int, typer.Argument(min=1, max=MINUTES_MAX, help="How long, in minutes.")],
    factor: Annotated[
        float, typer.Argument(min=1, max=FACTOR_MAX, help="How much traffic to expect: 3 is three times the usual.")
    ],
    model: Annotated[str, typer.Option(help="Only this model; every model without it.")] = "",
    organisation: Annotated[str, typer.Option(help="Whose launch it is; anybody's without it.")] = "",
    start: StartOption = "",
    reason: ReasonOption = "",
    broker: BrokerOption = "",
) -> None:
    """Announce growth: more tokens and cost, up to FACTOR times the usual, only inform meanwhile, and page nobody."""
    start_us = _time_us(start) if start else _now_us()
    span = {"start_us": start_us, "end_us": start_us + minutes * MINUTE_US}
    _say(broker, Launch, **span, factor=factor, model=model, organisation=organisation, reason=reason)


def plan(
    organisation: Annotated[str, typer.Argument(help="Whose plan.")],
    tier: Annotated[Tier, typer.Argument(help="What it has bought.")],
    broker: BrokerOption = "",
) -> None:
    """Set the tier that an organisation has bought; it outranks what its requests claim."""
    _say(broker, Plan, organisation=organisation, tier=tier.value)


def feedback(
    alert: Annotated[str, typer.Argument(help="The alert's id, as `tidegate follow alerts` shows it.")],
    verdict: Annotated[
        Judgement | None, typer.Argument(help="Was it a real incident? Or --true, or --false.", show_default=False)
    ] = None,
    real: Annotated[
        bool | None, typer.Option("--true/--false", help="The same as an option.", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option(help="In your words; without a verdict it moves nothing.")] = "",
    broker: BrokerOption = "",
) -> None:
    """Judge an alert, so that thresholds learn from it: `tidegate status` shows what they are then, and why."""
    said = _verdict(verdict, real, note)
    address = broker_address(broker)
    _say(address, Feedback, alert=run_async(find_alert(address, alert)), verdict=said, note=note)


def _verdict(verdict: Judgement | None, real: bool | None, note: str) -> str:
    """What was said, in either way; typer.BadParameter when nothing was, or both and not the same."""
    by_option = None if real is None else Judgement.true if real else Judgement.false
    found = verdict or by_option or (Judgement.note if note else None)
    if found is None:
        raise typer.BadParameter("say true or false, or leave a --note", param_hint="VERDICT")
    if by_option not in (None, found):
        raise typer.BadParameter(f"{found.value} and --{'true' if real else 'false'}: say one", param_hint="VERDICT")
    return found.value


def _say(broker: str, kind: type[Any], **fields: Any) -> None:
    """Write one event of `kind` to the control topic and say so; a field over its limit is a UserError."""
    event = _event(kind, fields)
    run_async(write_control(broker_address(broker), event))
    console().print(line("control", event))


def _event(kind: type[Any], fields: dict[str, Any]) -> Any:
    tag = kind.__struct_config__.tag
    made = {"type": tag, "id": f"{tag}-{uuid.uuid4()}", "time_us": _now_us(), **fields}
    try:
        return msgspec.convert(made, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"this is no valid {tag}: {error}") from error


async def write_control(address: str, event: ControlEvent) -> None:
    """Append one event to the control topic; returns when the broker has it."""
    from aiokafka.errors import KafkaConnectionError

    from pipeline.kafka_admin import KafkaUnreachableError, unreachable
    from pipeline.publisher import Publisher
    from pipeline.stage import Output

    publisher = Publisher(address, "tidegate-steer")
    try:
        await publisher.start()
    except KafkaConnectionError as error:
        raise KafkaUnreachableError(unreachable(address)) from error
    try:
        for sent in await publisher.publish(0, [Output(0, "control", event.id, event)]):
            await sent
    finally:
        await publisher.stop()


def _answer(address: str, command: str, by: str, approved: bool) -> None:
    latest, answers = run_async(_commands(address))
    pending = {name: each for name, each in latest.items() if each.state == PENDING and name not in answers}
    if not command:
        _list(pending)
        return
    found = pending.get(_named(command, latest)) or _refuse(command, latest, answers)
    approval = _event(Approval, {"command": found.command, "approved": approved, "by": by or getpass.getuser()})
    run_async(write_control(address, approval))
    console().print(f"{'approved' if approved else 'rejected'}: {found.action} {found.target} ({found.command})")


def _named(given: str, latest: dict[str, Command]) -> str:
    """A command by its name or by the id of its last record: `follow --json` shows both."""
    return next((name for name, each in latest.items() if each.id == given), given)


def _refuse(given: str, latest: dict[str, Command], answers: dict[str, Approval]) -> Command:
    name = _named(given, latest)
    if name in answers:
        answer = answers[name]
        verdict = "approved" if answer.approved else "rejected"
        raise UserError(f"command {name} was already {verdict} by {answer.by or 'someone'} at {clock(answer.time_us)}")
    if name in latest:
        raise UserError(f"command {name} does not wait for an answer: it is {latest[name].state}")
    raise UserError(f"there is no command {given!r}: `tidegate approve` without an id lists those that wait")


def _list(pending: dict[str, Command]) -> None:
    out = console()
    for each in sorted(pending.values(), key=lambda each: each.time_us):
        out.print(line("commands", each))
    if not pending:
        out.print("no command waits for an answer")


async def _commands(address: str) -> tuple[dict[str, Command], dict[str, Approval]]:
    """Every command as it last stood (its records share a key, so a partition), and the answers given so far."""
    latest: dict[str, Command] = {}
    for event in await _all(address, "commands"):
        latest[event.command] = event
    answers = {event.command: event for event in await _all(address, "control") if isinstance(event, Approval)}
    return latest, answers


async def _all(address: str, alias: str) -> list[Any]:
    decode = decoder(BY_ALIAS[alias])
    found = []
    async for record in records(address, BY_ALIAS[alias], from_start=True, to_end=True):
        try:
            found.append(decode(record.value))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # the pipeline's dead letters tell of it
    return found


def _now_us() -> int:
    return time.time_ns() // 1000


def _time_us(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{text!r} is no time: give ISO 8601, such as 2026-03-01T12:00:00Z") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)
