"""The rule table of mitigation: which alert, from which severity on, asks for which action upon whom.

A rule is data, so that an operator can read the table, or replace it (`[[mitigation.rules]]` in the settings file).
Of several rows with one alert and one action, the row of the highest severity reached holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from topics.fields import MINUTE_US, TEXT_CHARACTERS_MAX, Action, Severity

RANK: Mapping[str, int] = {"info": 0, "warning": 1, "critical": 2}
NAMES = ("kind", "severity", "model", "target", "stable", "version", "summary")
"""What a template in a rule may name, in braces."""

NEEDED: Mapping[str, tuple[str, type]] = {
    "throttle": ("percent", int),
    "free_gpus": ("gpus", int),
    "shift_traffic": ("to", str),
    "roll_back": ("to", str),
}
"""The parameter without which a consumer cannot act."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One row. `parameters` and `reason` are templates over `NAMES`.

    `target`: the alert's model, or the organisation that explains it. `reversible` False: done once, nothing to undo.
    `needs_approval`: proposed, and done only after an `Approval`. `ttl_us`: how long it stands unless renewed. `also`:
    what goes out with it once it is issued. ValueError where a row could not be obeyed.
    """

    alert: str
    severity: Severity
    action: Action
    reason: str
    parameters: dict[str, int | str] = {}
    target: Literal["model", "organisation"] = "model"
    when: Literal["always", "deployed_recently"] = "always"
    reversible: bool = True
    needs_approval: bool = False
    ttl_us: int = 15 * MINUTE_US
    also: tuple[Literal["invalidate_cache"], ...] = ()

    def __post_init__(self) -> None:
        where = f"rule {self.alert}/{self.severity}/{self.action}"
        if self.ttl_us <= 0:
            raise ValueError(f"{where}: ttl_us must be above 0")
        if self.action == "roll_back" and not self.needs_approval:
            raise ValueError(f"{where}: a roll back cannot be undone, so needs_approval must be true")
        name, kind = NEEDED.get(self.action, ("", object))
        if name and not isinstance(self.parameters.get(name), kind):
            raise ValueError(f"{where}: parameters must have {name!r} ({kind.__name__})")
        self._check_templates(where)

    def _check_templates(self, where: str) -> None:
        try:
            filled(self, dict.fromkeys(NAMES, "x"))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"{where}: a template names {error}; it may name {', '.join(NAMES)}") from error


def filled(rule: Rule, names: Mapping[str, str]) -> tuple[str, dict[str, int | str]]:
    """The rule's reason and parameters with every name replaced; a parameter that comes out empty is left out."""
    parameters = {
        key: value.format_map(names) if isinstance(value, str) else value for key, value in rule.parameters.items()
    }
    reason = rule.reason.format_map(names).strip()[:TEXT_CHARACTERS_MAX]
    return reason, {key: value for key, value in parameters.items() if value != ""}


def wanted(
    rules: Sequence[Rule], kind: str, severity: str, deployed_recently: bool, provisional: bool = False
) -> list[Rule]:
    """The rules that an alert of `kind` has reached at `severity`: one an action, in the table's order.

    While it is provisional, only what can be undone and needs no person.
    """
    best: dict[Any, Rule] = {}
    for rule in rules:
        if provisional and (rule.needs_approval or not rule.reversible):
            continue
        reached = rule.alert == kind and RANK[rule.severity] <= RANK[severity]
        if not reached or (rule.when == "deployed_recently" and not deployed_recently):
            continue
        held = best.get(rule.action)
        if held is None or RANK[rule.severity] > RANK[held.severity]:
            best[rule.action] = rule
    return list(best.values())


def _throttle(alert: str, severity: Severity, needs_approval: bool) -> Rule:
    return Rule(
        alert,
        severity,
        "throttle",
        "{kind} on {model}: hold {target} to 50 % of its rate. {summary}",
        parameters={"percent": 50},
        target="organisation",
        needs_approval=needs_approval,
    )


def _shift(alert: str, severity: Severity) -> Rule:
    return Rule(
        alert,
        severity,
        "shift_traffic",
        "{kind} on {model}: send its traffic to version {stable}. {summary}",
        parameters={"to": "{stable}", "from": "{version}"},
        ttl_us=30 * MINUTE_US,
    )


def _free(alert: str, severity: Severity, gpus: int) -> Rule:
    return Rule(
        alert,
        severity,
        "free_gpus",
        f"{{kind}} on {{model}}: give {gpus} GPUs of the job pool to serving. {{summary}}",
        parameters={"gpus": gpus},
        ttl_us=30 * MINUTE_US,
    )


_ROLL_BACK = Rule(
    "error_burst",
    "warning",
    "roll_back",
    "{kind} on {model} after its deployment of {version}: return to {stable}. {summary}",
    parameters={"to": "{stable}", "from": "{version}"},
    when="deployed_recently",
    reversible=False,
    needs_approval=True,
    also=("invalidate_cache",),
)

# A cache that wrongly answers everything looks like a drop of traffic (Portkey-AI/gateway#1237).
_INVALIDATE = Rule(
    "traffic_drop",
    "warning",
    "invalidate_cache",
    "{kind} on {model}: drop its cached answers, in case the cache answers what it should not. {summary}",
    reversible=False,
)

RULES: tuple[Rule, ...] = (
    _throttle("token_surge", "info", needs_approval=True),
    _throttle("token_surge", "warning", needs_approval=False),
    _throttle("cost_anomaly", "info", needs_approval=True),
    _shift("error_burst", "warning"),
    _ROLL_BACK,
    _free("latency_spike", "warning", 8),
    _free("latency_spike", "critical", 16),
    _shift("latency_spike", "critical"),
    _free("latency_leak", "warning", 8),
    _free("latency_leak", "critical", 16),
    _shift("latency_leak", "critical"),
    _INVALIDATE,
    _shift("no_answers", "critical"),
    _shift("multi_metric", "critical"),
)
"""The defaults. At `info` nothing is done unasked: rate limiting is proposed, and no one is paged."""
