"""What steers the pipeline: written by operators, deployment tools and the mitigation stage, in one order for all."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from topics.fields import Action, Count, Id, Label, Severity, Text, Tier, TimeUs

GPUS_MAX = 1_000_000
FACTOR_MAX = 1_000


class Control(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True, omit_defaults=True):
    """What every control event has: `id` is the writer's own and unique, `time_us` is event time."""

    id: Id
    time_us: TimeUs


class Deployment(Control, frozen=True, tag="deployment", kw_only=True):
    """A model version went live. `stable` names the version to return to when it misbehaves."""

    model: Id
    version: Id
    stable: Label = ""


class Maintenance(Control, frozen=True, tag="maintenance", kw_only=True):
    """Anomalies of `model` (every model when empty) inside [start_us, end_us) are recorded and alert nobody."""

    start_us: TimeUs
    end_us: TimeUs
    model: Label = ""
    reason: Text = ""


class Launch(Control, frozen=True, tag="launch", kw_only=True):
    """Traffic is expected to grow, up to `factor` times the usual, in [start_us, end_us): that much only informs.

    Of `model` (every model when empty), by `organisation` (anybody when empty).
    """

    start_us: TimeUs
    end_us: TimeUs
    factor: Annotated[float, Meta(ge=1, le=FACTOR_MAX)]
    model: Label = ""
    organisation: Label = ""
    reason: Text = ""


class Plan(Control, frozen=True, tag="plan", kw_only=True):
    """The tier an organisation has bought; outranks the tier that its requests claim."""

    organisation: Id
    tier: Tier


class Feedback(Control, frozen=True, tag="feedback", kw_only=True):
    """A person's judgement of an alert."""

    alert: Id
    verdict: Literal["true", "false", "note"]
    note: Text = ""


class Approval(Control, frozen=True, tag="approval", kw_only=True):
    """A person's answer to a command that waits for one (`approved` false: rejected)."""

    command: Id
    approved: bool
    by: Label = ""


class Job(Control, frozen=True, tag="job", kw_only=True):
    """A job for the GPU pool. `gpus` are given all at once or not at all. Higher `priority` runs first."""

    job: Id
    team: Id
    gpus: Annotated[int, Meta(ge=1, le=GPUS_MAX)]
    priority: Annotated[int, Meta(ge=0, le=100)] = 1
    action: Literal["submit", "cancel", "finish"] = "submit"


class Command(Control, frozen=True, tag="command", kw_only=True):
    """What mitigation wants done, or undone.

    `id` is unique to this event; `command` names the command through its life. `state` walks
    pending_approval -> issued -> reversed | expired, or pending_approval -> rejected | expired. Only `issued` and
    `reversed` ask the scheduler, the cache and the quota to act. `target` is the model or organisation acted upon.
    """

    command: Id
    alert: Id
    model: Id
    action: Action
    target: Id
    state: Literal["pending_approval", "issued", "reversed", "rejected", "expired"]
    severity: Severity
    expires_us: TimeUs
    reason: Text
    parameters: dict[Id, int | str] = {}
    source: tuple[int, int, int] | None = None  # (partition, offset, index) in the slices log: what caused it


ControlEvent = Deployment | Maintenance | Launch | Plan | Feedback | Approval | Job | Command


class Relayed(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="relayed", kw_only=True):
    """A control event copied into a log that it concerns, so that one log decides. `offset`: its place in `control`."""

    offset: Count
    event: ControlEvent
