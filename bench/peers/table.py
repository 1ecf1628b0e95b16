"""The table of what is measured: how each is started, and on which share of the input."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.peers.work import Work

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
JOBS = HERE / "jobs"
VENVS = HERE / ".venvs"
JAVA = HERE / "kafka-streams" / "target"

JVM = ("-Xms512m", "-Xmx512m", "-XX:+UseParallelGC", "-XX:ParallelGCThreads=1")
"""A heap that is never short, and the collector with the least work an event, on one thread."""


@dataclass(frozen=True)
class Start:
    """What a command line is made from. `state`: an empty folder for what the peer keeps."""

    address: str
    work: Work
    name: str  # a fresh consumer group or application id
    output: str
    state: Path

    def is_between(self, topic: str) -> bool:
        """Whether it is a topic by which the peer sends events to itself (repartitioning); all bear its name."""
        return self.name in topic and topic != self.output and "changelog" not in topic

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PEER_BROKER": self.address,
            "PEER_INPUT": self.work.topic,
            "PEER_OUTPUT": self.output,
            "PEER_NAME": self.name,
            "PEER_REGROUP": "1" if self.work.keyed_by == "organisation" else "0",
            "PEER_STATE": str(self.state),
        }


@dataclass(frozen=True)
class Peer:
    """`share`: the part of the events that it is measured on, so that slow ones end in reasonable time.

    `answers` False: it only fetches, to show the physical limit. `ends`: by itself, when it has read the input.
    `commits`: how far it has read can be seen from the offsets of a consumer group named `Start.name`.
    """

    name: str
    command: Callable[[Start], list[str]]
    installed: Callable[[], bool]
    share: float = 1.0
    answers: bool = True
    ends: bool = False
    commits: bool = False
    ours: bool = False


def _python(venv: str) -> Path:
    return VENVS / venv / "bin" / "python"


def _faust(start: Start) -> list[str]:
    return [str(_python("faust")), str(JOBS / "faust_job.py"), "worker", "--loglevel=WARN", "--without-web"]


def _quix(start: Start) -> list[str]:
    return [str(_python("quix")), str(JOBS / "quix_job.py")]


def _bytewax(start: Start) -> list[str]:
    return [str(_python("bytewax")), str(JOBS / "bytewax_main.py")]


def _kafka_streams(start: Start) -> list[str]:
    classes = os.pathsep.join([str(JAVA / "classes"), str(JAVA / "lib" / "*")])
    return ["java", *JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes, "peers.WindowsJob"]


def _tidegate(start: Start) -> list[str]:
    return [sys.executable, "-m", "pipeline", "worker", "--broker", start.address, "--agents", "slices,windows"]


def _fetch_aiokafka(start: Start) -> list[str]:
    return [sys.executable, str(JOBS / "fetch_aiokafka.py"), str(start.work.events)]


def _fetch_librdkafka(start: Start) -> list[str]:
    return [str(_python("quix")), str(JOBS / "fetch_librdkafka.py"), str(start.work.events)]


def _has(path: Path) -> Callable[[], bool]:
    return path.exists


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("tidegate", _tidegate, lambda: True, ours=True),
        Peer("kafka-streams", _kafka_streams, _has(JAVA / "lib"), commits=True),
        Peer("bytewax", _bytewax, _has(_python("bytewax")), share=0.5, ends=True),
        Peer("quix", _quix, _has(_python("quix")), share=0.15, commits=True),
        Peer("faust", _faust, _has(_python("faust")), share=0.05, commits=True),
        Peer("fetch-aiokafka", _fetch_aiokafka, lambda: True, answers=False, ends=True),
        Peer("fetch-librdkafka", _fetch_librdkafka, _has(_python("quix")), answers=False, ends=True),
    )
}
"""Ours, the peers, and two that do nothing but fetch."""
