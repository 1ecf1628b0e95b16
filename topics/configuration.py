"""A topic's configuration in Kafka, from its row in the table."""

from topics.table import RECORD_BYTES_MAX, Topic

PARTITIONS_DEFAULT = 8
REPLICAS_DEFAULT = 1
SEGMENTS_MIN = 8


def configuration(topic: Topic) -> dict[str, str]:
    """Kafka's topic settings.

    Kafka deletes whole segments, so a record lives for its retention plus up to a segment's time: without a short
    `segment.ms` (Kafka's default is a week) a quiet topic would keep prompts seven times longer than it says.
    """
    return {
        "cleanup.policy": "compact,delete" if topic.compacted else "delete",
        "retention.ms": str(topic.retention_ms),
        "segment.ms": str(topic.retention_ms // SEGMENTS_MIN),
        "max.message.bytes": str(RECORD_BYTES_MAX),
    }


def partition_count(topic: Topic, chosen: int = PARTITIONS_DEFAULT) -> int:
    """How many partitions the topic has where `chosen` is what the deployment chose."""
    return topic.partitions or chosen


def duration_text(milliseconds: int) -> str:
    """A retention for people: `1 day`, `30 days`, `6 h`."""
    days, rest = divmod(milliseconds, 86_400_000)
    if rest:
        return f"{milliseconds / 3_600_000:g} h"
    return "1 day" if days == 1 else f"{days} days"
