"""From slices to a window: the minute of one model over all partitions. Pure sums, so in any order."""

from collections import Counter
from collections.abc import Iterable

from pipeline.sketch import Counts, from_record, merge, quantile
from topics.fields import SECOND_US
from topics.records import MetricWindow, OrganisationTokens, Slice

UNNUMBERED = "-"
SUMMED = ("requests", "completions", "errors", "input_tokens", "output_tokens", "cost_microusd", "late_events")


def merged_window(
    slices: Iterable[Slice], *, time_us: int, model: str, start_us: int, end_us: int, revision: int, top: int
) -> MetricWindow:
    """The window that these slices add up to; without slices an empty one. `top`: how many organisations it names.

    Its `id` is UNNUMBERED until the stage gives it a coordinate.
    """
    totals = dict.fromkeys(SUMMED, 0)
    first_token: Counts = {}
    duration: Counts = {}
    organisations: Counter[str] = Counter()
    for part in slices:
        for name in SUMMED:
            totals[name] += getattr(part, name)
        merge(first_token, from_record(part.first_token_us))
        merge(duration, from_record(part.duration_us))
        for entry in part.top_organisations:
            organisations[entry.organisation] += entry.tokens
    tokens = totals["input_tokens"] + totals["output_tokens"]
    return MetricWindow(
        id=UNNUMBERED,
        time_us=time_us,
        model=model,
        start_us=start_us,
        end_us=end_us,
        revision=revision,
        error_rate=totals["errors"] / totals["completions"] if totals["completions"] else 0.0,
        tokens_per_s=tokens * SECOND_US / (end_us - start_us),
        first_token_us_p50=quantile(first_token, 50, 100),
        first_token_us_p99=quantile(first_token, 99, 100),
        duration_us_p50=quantile(duration, 50, 100),
        duration_us_p99=quantile(duration, 99, 100),
        top_organisations=_heaviest(organisations, top),
        **totals,
    )


def _heaviest(organisations: Counter[str], top: int) -> list[OrganisationTokens]:
    """By tokens, then by name. A slice names its own heaviest only, so a sum may miss what others sent in it."""
    ranked = sorted(organisations.items(), key=lambda item: (-item[1], item[0]))[:top]
    return [OrganisationTokens(name, tokens) for name, tokens in ranked]
