"""How to run a worker, and the names in Kafka that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.chain import sources
from pipeline.flow import STAGES
from pipeline.settings import Settings
from topics.table import BY_ALIAS

GROUP = "tidegate"


@dataclass(frozen=True)
class WorkerOptions:
    """Times in seconds; `web_port` None: no web page."""

    broker: str
    partitions: Mapping[str, int]  # topic name -> number of partitions, as they are in Kafka
    stages: frozenset[str] = frozenset(STAGES)
    settings: Settings = field(default_factory=Settings)
    checkpoint_interval_s: float = 0.5
    idle_tick_s: float = 3.0
    session_timeout_s: float = 6.0
    stuck_after_s: float = 30.0
    web_port: int | None = None
    replicas: int = 1
    fresh: bool = False  # a stage whose state cannot be read begins with nothing

    @property
    def group(self) -> str:
        """The consumer group: workers with the same stages share the partitions."""
        if self.stages == frozenset(STAGES):
            return GROUP
        return "-".join([GROUP, *(stage for stage in STAGES if stage in self.stages)])

    @property
    def changelogs(self) -> dict[str, int]:
        """The topics that hold the state, with their numbers of partitions: one a source."""
        return {self.changelog(source): self.partitions[BY_ALIAS[source].name] for source in sources(self.stages)}

    def changelog(self, source: str) -> str:
        """The topic that holds the state of a source's lanes."""
        return f"{self.group}-{source}-state-changelog"


def stages_of_group(group: str) -> frozenset[str]:
    """The stages whose state a consumer group of this name holds; none when it is not one of ours."""
    name, *stages = group.split("-")
    known = frozenset(stages) & frozenset(STAGES)
    return (known or frozenset(STAGES)) if name == GROUP and len(known) == len(stages) else frozenset()
