"""From slices to a window: the minute of one model over all partitions. Pure sums, so in any order."""

from collections.abc import Sequence
from operator import attrgetter

from pipeline.heaviest import ranked
from pipeline.sketch import Counts, merge_record, quantiles
from pipeline.tallies import merged_parts
from topics.fields import SECOND_US
from topics.records import MetricWindow, Slice

UNNUMBERED = "-"
SUMMED = ("requests", "completions", "errors", "input_tokens", "output_tokens", "cost_microusd", "late_events")
_FIELDS = [(name, attrgetter(name)) for name in SUMMED]


def merged_window(
    slices: Sequence[Slice], *, time_us: int, model: str, start_us: int, end_us: int, revision: int, top: int
) -> MetricWindow:
    """The window that these slices add up to; without slices an empty one. `top`: how many organisations it names.

    A slice names its own heaviest only, so a sum may miss what others sent in it. The slices' sketches have been
    checked. The window's `id` is UNNUMBERED until the stage gives it a coordinate.
    """
    first_token: Counts = {}
    duration: Counts = {}
    organisations: dict[str, int] = {}
    for part in slices:
        merge_record(first_token, part.first_token_us)
        merge_record(duration, part.duration_us)
        for entry in part.top_organisations:
            organisations[entry.organisation] = organisations.get(entry.organisation, 0) + entry.tokens
    totals = {name: sum([field(part) for part in slices]) for name, field in _FIELDS}
    first_token_us_p50, first_token_us_p99 = quantiles(first_token, (50, 99), 100)
    duration_us_p50, duration_us_p99 = quantiles(duration, (50, 99), 100)
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
        first_token_us_p50=first_token_us_p50,
        first_token_us_p99=first_token_us_p99,
        duration_us_p50=duration_us_p50,
        duration_us_p99=duration_us_p99,
        top_organisations=ranked(organisations, top),
        parts=merged_parts([part.parts for part in slices]),
        **totals,
    )
