"""From alert to command: bounded, reversible, and a person asked before what cannot be undone.

The table in `pipeline/rules.py` says what an alert asks for. This stage walks each command through its life:

    pending_approval --approved--> issued --alert resolved or judged false, or time up--> reversed
        |  |                         '--still open shortly before its time is up: issued again, `renewals_max` times
        |  '--rejected--> rejected
        '--unanswered for `approval_ttl_us`, or needed no longer--> expired

- No action twice for one alert. A severity that rises adds what it newly reaches: another action, more of one under
  the same command, or the doing of what was only proposed. An organisation found later is acted upon instead of all.
- No action twice upon one target: a second alert that wants what already stands (or waits) is covered by it, may
  enlarge it, and takes it over when the first alert ends.
- At most `shifted_models_max` models have their traffic shifted by this partition; one more is proposed, not done.
  (The scheduler, which sees all partitions, holds its own bound.)
- A provisional alert (seconds of evidence) commands only what can be undone and asks nobody: no roll back is proposed,
  no cache dropped, before the minute windows confirm it. Withdrawn, it takes back what it did.
- A proposal outlives its alert only if it cannot be undone (a roll back): a shift that calms the alert must not
  withdraw the question that is still open.

Time is the partition's event time (ticks and alerts). A command leaves twice: to subscribers and into the control log.
"""

from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from pipeline.incidents import NEVER_US, Book, Incident, Standing, Value, thing_of
from pipeline.rules import NAMES, RANK, RULES, Rule, filled, wanted
from pipeline.stage import Batch, Output, State
from topics.control import Approval, Command, Deployment, Feedback, Relayed
from topics.fields import HOUR_US, MINUTE_US
from topics.links import RaisedEvent
from topics.records import Alert


class MitigationParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Times in microseconds. `stable_version` and `fallback_target` stand in where nothing better is known.

    `renew_ahead_us`: a command is renewed this long before its time is up, since windows close after traffic flowed.
    """

    rules: tuple[Rule, ...] = RULES
    stable_version: str = "stable"
    fallback_target: str = "tier:free"
    deployed_recently_us: int = 24 * HOUR_US
    approval_ttl_us: int = 30 * MINUTE_US
    renew_ahead_us: int = 3 * MINUTE_US
    renewals_max: int = 6
    shifted_models_max: int = 2
    incidents_max: int = 1_000
    deployments_max: int = 1_000


class Mitigation:
    """Reads alerts, ticks and relayed control events; writes commands. Its state is `pipeline.incidents.Value`."""

    values: ClassVar[Any] = Value

    def __init__(self, params: MitigationParams) -> None:
        self._params = params

    def step(self, state: State[Value], batch: Batch) -> list[Output]:
        turn = _Turn(self._params, Book(state, batch.partition))
        for offset, event in zip(batch.offsets, batch.events, strict=True):
            turn.take(offset, event)
        return turn.book.outputs


class _Turn:
    """One batch's work on the book."""

    def __init__(self, params: MitigationParams, book: Book) -> None:
        self.params = params
        self.book = book

    def take(self, offset: int, event: RaisedEvent) -> None:
        self.book.turn_to(offset)
        if isinstance(event, Relayed):
            self._control(event)
            return
        self._advance(event.time_us)
        if isinstance(event, Alert):
            self._alert(event)

    def _control(self, relayed: Relayed) -> None:
        event = relayed.event
        if isinstance(event, Deployment):
            self.book.deployments.record(event, self.params.deployments_max)
            self.book.keep_deployments()
        elif isinstance(event, Approval):
            self._answered(event)
        elif isinstance(event, Feedback) and event.verdict == "false":
            self._judged_false(event)

    # -- alerts ---------------------------------------------------------------------------------------------------

    def _alert(self, alert: Alert) -> None:
        incident = self.book.find(alert.alert)
        if alert.status in ("resolved", "withdrawn"):
            if incident:
                incident.muted = False
                why = "the alert resolved" if alert.status == "resolved" else "the alert was withdrawn"
                self._close(incident, why, keep_questions=alert.status == "resolved")
            return
        if incident is None:
            self._make_room()
            incident = Incident(alert.alert, alert.severity)
        if incident.open:
            self._pursue(incident, alert)

    def _pursue(self, incident: Incident, alert: Alert) -> None:
        """Begin, or enlarge, what the alert asks for by now."""
        incident.severity = max(incident.severity, alert.severity, key=lambda severity: RANK[severity])
        suspect = self.book.deployments.suspect(alert.model, alert.started_us, self.params.deployed_recently_us)
        begun = {standing.command.action: standing for standing in incident.commands}
        for rule in wanted(self.params.rules, alert.kind, incident.severity, suspect, alert.provisional):
            standing = begun.get(rule.action)
            if standing is None:
                self._begin(incident, alert, rule)
            elif standing.lives and self._found(standing, alert, rule):
                self._leave(incident, standing, f"{alert.organisation} was found to explain the alert")
                self._begin(incident, alert, rule)
            elif standing.lives:
                self._enlarge(standing, alert, rule)
        self._keep(incident)

    def _found(self, standing: Standing, alert: Alert, rule: Rule) -> bool:
        """Whether the alert now names the organisation in whose stead the command hit many."""
        fallback = self.params.fallback_target
        return rule.target == "organisation" and standing.command.target == fallback != (alert.organisation or fallback)

    def _begin(self, incident: Incident, alert: Alert, rule: Rule) -> None:
        thing = thing_of(rule.action, self._names(alert, rule)["target"])
        known = thing in incident.covered
        for owner, standing in self.book.living():
            if standing.thing == thing:
                self._enlarge(standing, alert, rule)
                self._keep(owner)
                incident.covered += [] if known else [thing]
                return
        if known:
            return
        too_many = rule.action == "shift_traffic" and self._shifted() >= self.params.shifted_models_max
        command = self._command(alert, rule, pending=rule.needs_approval or too_many)
        if too_many:
            refusal = f"{self.params.shifted_models_max} models are shifted already, so this waits for approval."
            command = replace(command, reason=f"{refusal} {command.reason}")
        incident.commands.append(Standing(self.book.send(command), rule))

    def _command(self, alert: Alert, rule: Rule, pending: bool) -> Command:
        names = self._names(alert, rule)
        reason, parameters = filled(rule, names)
        return Command(
            id="new",
            time_us=alert.time_us,
            command="",
            alert=alert.alert,
            model=alert.model,
            action=rule.action,
            target=names["target"],
            state="pending_approval" if pending else "issued",
            severity=alert.severity,
            expires_us=self.book.until(self.params.approval_ttl_us if pending else rule.ttl_us),
            reason=reason,
            parameters=parameters,
        )

    def _enlarge(self, standing: Standing, alert: Alert, rule: Rule) -> None:
        """Where a graver rule is reached, do what was only proposed, or more of what is done."""
        if RANK[rule.severity] <= RANK[standing.rule.severity]:
            return
        reason, parameters = filled(rule, self._names(alert, rule))
        asked_no_more = standing.pending and standing.rule.needs_approval and not rule.needs_approval
        more = not standing.pending and parameters != standing.command.parameters
        if asked_no_more or more:
            standing.rule = rule
            standing.command = replace(standing.command, severity=alert.severity, parameters=parameters)
            self._issue(standing, reason)

    def _names(self, alert: Alert, rule: Rule) -> dict[str, str]:
        deployed = self.book.deployments.models.get(alert.model)
        organisation = alert.organisation or self.params.fallback_target
        values = (
            alert.kind.replace("_", " ").capitalize(),
            alert.severity,
            alert.model,
            organisation if rule.target == "organisation" else alert.model,
            (deployed.stable if deployed else "") or self.params.stable_version,
            deployed.version if deployed else "",
            alert.summary,
        )
        return dict(zip(NAMES, values, strict=True))

    def _shifted(self) -> int:
        """How many models' traffic is shifted now."""
        return sum(
            standing.command.action == "shift_traffic" and not standing.pending for _, standing in self.book.living()
        )

    # -- the life of a command ------------------------------------------------------------------------------------

    def _issue(self, standing: Standing, reason: str) -> None:
        self.book.move(standing, "issued", reason, standing.rule.ttl_us)
        command = standing.command
        if command.action == "roll_back":
            self.book.deployments.returned(command.target, str(command.parameters["to"]), command.time_us)
            self.book.keep_deployments()
        for action in standing.rule.also:
            follows = f"{command.action} of {command.target} ({command.command}) was issued"
            self.book.send(replace(command, command="", action=action, parameters={}, reason=follows))

    def _advance(self, time_us: int) -> None:
        self.book.advance(time_us)
        for incident in self.book.due():
            for standing in incident.commands:
                if self._due_us(standing) <= self.book.clock.time_us:
                    self._fall_due(standing)
            self._keep(incident)

    def _fall_due(self, standing: Standing) -> None:
        if standing.pending:
            self.book.end(standing, "expired: nobody answered in time")
        elif self._renewable(standing):
            standing.renewals += 1
            reason = f"renewed ({standing.renewals} of at most {self.params.renewals_max}): the alert is still open"
            self.book.move(standing, "issued", reason, standing.rule.ttl_us)
        else:
            self.book.end(standing, "expired: its time is up")

    def _renewable(self, standing: Standing) -> bool:
        """What is issued and lives belongs to an open alert: closing one ends all that can be undone."""
        return not standing.pending and standing.renewals < self.params.renewals_max

    def _due_us(self, standing: Standing) -> int:
        if not standing.lives:
            return NEVER_US
        ahead_us = min(self.params.renew_ahead_us, standing.rule.ttl_us // 2)
        return standing.command.expires_us - (ahead_us if self._renewable(standing) else 0)

    def _keep(self, incident: Incident) -> None:
        self.book.keep(incident, min((self._due_us(each) for each in incident.commands), default=NEVER_US))

    # -- what people say, and how an incident ends ----------------------------------------------------------------

    def _answered(self, answer: Approval) -> None:
        """An answer to a command that does not wait here (unknown, answered, expired) changes nothing."""
        by = f" by {answer.by}" if answer.by else ""
        for incident in self.book.all():
            for standing in incident.commands:
                if not standing.pending or standing.command.command != answer.command:
                    continue
                if answer.approved:
                    self._issue(standing, f"approved{by}: {standing.command.reason}")
                else:
                    self.book.move(standing, "rejected", f"rejected{by}")
                self._keep(incident)
                return

    def _judged_false(self, feedback: Feedback) -> None:
        incident = self.book.find(feedback.alert)
        if incident and incident.open:
            incident.muted = True
            self._close(incident, f"a person judged the alert false ({feedback.id})", keep_questions=False)

    def _close(self, incident: Incident, why: str, keep_questions: bool = True) -> None:
        incident.open = False
        for standing in [standing for standing in incident.commands if standing.lives]:
            if keep_questions and not standing.rule.reversible:
                continue
            self._leave(incident, standing, why)
        self._keep(incident)

    def _leave(self, incident: Incident, standing: Standing, why: str) -> None:
        if not self._hand_over(incident, standing):
            self.book.end(standing, why)

    def _hand_over(self, incident: Incident, standing: Standing) -> bool:
        """Give a command to the oldest open incident that was covered by it."""
        for heir in self.book.all():
            if heir.open and standing.thing in heir.covered:
                heir.covered.remove(standing.thing)
                heir.commands.append(standing)
                incident.commands.remove(standing)
                self._keep(heir)
                return True
        return False

    def _make_room(self) -> None:
        """At the limit the oldest incident is closed, so that no command is left standing unwatched."""
        while len(self.book) >= self.params.incidents_max:
            oldest = self.book.all()[0]
            oldest.muted = False
            self._close(
                oldest, f"over {self.params.incidents_max} incidents: the oldest is closed", keep_questions=False
            )
