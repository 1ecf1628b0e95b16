"""One example of each record that users write, for documents and tests."""

from typing import Any

from topics.control import Approval, Deployment, Feedback, Job, Launch, Maintenance, Plan
from topics.traffic import Completion, Request

NOON_US = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z
HOUR_US = 3_600_000_000

REQUEST = Request(
    id="req-1",
    time_us=NOON_US,
    organisation="acme",
    model="aurora-large",
    input_tokens=420,
    max_tokens=800,
    tier="pro",
    user="u-7",
    provider="openai",
    prompt="Summarise the minutes of the meeting in five points.",
)
COMPLETION = Completion(
    id="req-1",
    time_us=NOON_US + 2_310_000,
    organisation="acme",
    model="aurora-large",
    input_tokens=418,
    output_tokens=236,
    first_token_s=0.41,
    duration_s=2.31,
)

EXAMPLES: dict[type[Any], Any] = {
    Request: REQUEST,
    Completion: COMPLETION,
    Deployment: Deployment(
        id="dep-1", time_us=NOON_US, model="aurora-large", version="2026-03-01", stable="2026-02-10"
    ),
    Maintenance: Maintenance(
        id="mnt-1", time_us=NOON_US, start_us=NOON_US, end_us=NOON_US + HOUR_US, reason="new network cards"
    ),
    Launch: Launch(
        id="lch-1",
        time_us=NOON_US,
        start_us=NOON_US,
        end_us=NOON_US + 3 * HOUR_US,
        factor=3.0,
        organisation="acme",
        reason="acme opens its assistant to everybody",
    ),
    Plan: Plan(id="plan-1", time_us=NOON_US, organisation="acme", tier="enterprise"),
    Feedback: Feedback(id="fb-1", time_us=NOON_US, alert="a3-1045-0", verdict="true", note="the provider confirmed it"),
    Approval: Approval(id="app-1", time_us=NOON_US, command="c3-1045-0", approved=True, by="dana"),
    Job: Job(id="job-1", time_us=NOON_US, job="train-7", team="alignment", gpus=64, priority=10),
}
