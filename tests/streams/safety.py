"""What safety reads: requests within their quota."""

from typing import Any

from hypothesis import strategies as st

from tests.streams.traffic import streams as traffic_streams
from topics.links import Admitted
from topics.records import QuotaVerdict
from topics.traffic import Request

QUOTA = QuotaVerdict(limit_tokens=9, remaining_tokens=4, reserved_tokens=5, reset_us=7, retry_after_us=0)


def streams() -> st.SearchStrategy[list[Any]]:
    return traffic_streams(40).map(
        lambda events: [Admitted(request=e, tier=e.tier, quota=QUOTA) for e in events if isinstance(e, Request)]
    )
