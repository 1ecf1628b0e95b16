"""The traffic log: requests and completions of an organisation in one order, and what the pipeline itself adds."""

from msgspec import Struct, field

from topics.control import Relayed
from topics.fields import Id, Label, Prompt, Seconds, Tier, TimeUs, Tokens


class Request(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="request",
    kw_only=True,
    omit_defaults=True,
    gc=False,
):
    """One request to the API, as it arrives. Names are OpenTelemetry's GenAI attributes where one exists.

    `input_tokens` may be the gateway's estimate; the completion settles it.
    """

    id: Id
    time_us: TimeUs
    organisation: Id
    model: Id = field(name="gen_ai.request.model")
    input_tokens: Tokens = field(name="gen_ai.usage.input_tokens")
    max_tokens: Tokens | None = field(default=None, name="gen_ai.request.max_tokens")
    tier: Tier = "free"
    user: Label = field(default="", name="user.id")
    provider: Label = field(default="", name="gen_ai.provider.name")
    operation: Label = field(default="chat", name="gen_ai.operation.name")
    region: Label = field(default="", name="cloud.region")
    client: Label = field(default="", name="user_agent.original")
    prompt: Prompt = ""


class Completion(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="completion",
    kw_only=True,
    omit_defaults=True,
    gc=False,
):
    """The end of a request, answered or failed (`error_type`). `id` and `organisation` are the request's.

    Durations are seconds, as in OpenTelemetry; the pipeline counts them in whole microseconds.
    """

    id: Id
    time_us: TimeUs
    organisation: Id
    model: Id = field(name="gen_ai.response.model")
    input_tokens: Tokens = field(name="gen_ai.usage.input_tokens")
    output_tokens: Tokens = field(name="gen_ai.usage.output_tokens")
    cached_tokens: Tokens = field(default=0, name="gen_ai.usage.cache_read.input_tokens")
    first_token_s: Seconds | None = field(default=None, name="gen_ai.response.time_to_first_chunk")
    duration_s: Seconds | None = field(default=None, name="gen_ai.client.operation.duration")
    error_type: Label = field(default="", name="error.type")
    tier: Label = ""
    region: Label = field(default="", name="cloud.region")
    client: Label = field(default="", name="user_agent.original")


class Tick(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="tick", kw_only=True, gc=False):
    """Event time has reached `time_us` in this partition although nothing else happened. Written by drivers."""

    time_us: TimeUs


TrafficEvent = Request | Completion | Tick | Relayed
