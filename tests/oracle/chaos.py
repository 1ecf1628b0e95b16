"""One seeded run on a real broker: workers share the partitions while processes and the broker are killed, frozen and
restarted; afterwards everything that was written is compared with the oracle.

The seed decides traffic and timeline; which record is under way at a given moment the machine decides.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.broker import temporary_broker
from pipeline.broker_run import Broker, down, kill, up
from pipeline.kafka_admin import create_topics
from tests.oracle.faults import FIRST, THIRD, Fault, timeline
from tests.oracle.judging import PUBLISHED, Judgement, judge
from tests.oracle.members import Member, worker_command
from tests.oracle.production import Production
from tests.oracle.reading import FED, Place, committed, lag, read, topic_name
from tests.oracle.traffic import END_US, MINUTE_US, Sent, traffic

PARTITIONS = 8
EVENTS = 500_000
LOOK_S = 0.1
CATCH_UP_S = 240.0
LOG_SHOWN_MAX = 4_000
STOPS_MAX = 4
CLOSING_US = 3 * MINUTE_US  # beyond the last event: closes its minute, and lets out all corrections
FAULT_EVERY_S = 9.0  # or so: the pace of production, so that events keep coming to the last
EVENTS_AN_EXTRA_FAULT = 100_000
SESSION_S = 3.0
MOVED_ON_S_MAX = 20.0
UPON_WHOEVER_RUNS = ("kill", "freeze")
ENDS = {"freeze": "wake", "throttle": "unthrottle"}

Say = Callable[[str], None]


class Spec(NamedTuple):
    """What to run. `mutant`: the name of a worker that does something wrong, which the comparison must notice."""

    seed: int
    events: int = EVENTS
    mutant: str = ""

    @property
    def faults(self) -> list[Fault]:
        return timeline(self.seed, self.events // EVENTS_AN_EXTRA_FAULT, SESSION_S)

    @property
    def command(self) -> str:
        """What repeats this run."""
        mutant = f" --mutant {self.mutant}" if self.mutant else ""
        return f"python -m tests.oracle --seed {self.seed} --events {self.events}{mutant}"


class Later(NamedTuple):
    """How a fault ends, and when (monotonic seconds)."""

    at: float
    fault: Fault


class NotCaughtUpError(Exception):
    """The workers did not get through what there was to process."""


class Run:
    """The broker, the workers and the production of one run."""

    def __init__(self, spec: Spec, broker: Broker, folder: Path, say: Say) -> None:
        self.members = {
            name: Member(name, worker_command(broker.address, SESSION_S, spec.mutant), folder / f"worker-{name}.log")
            for name in (*FIRST, THIRD)
        }
        self.say = say
        self._spec = spec
        self._broker = broker
        self._later: list[Later] = []
        self._began = time.monotonic()
        start_us = time.time_ns() // 1000 - END_US - CLOSING_US
        self._start_us = start_us - start_us % MINUTE_US
        records = traffic(spec.seed, spec.events, PARTITIONS, self._start_us)
        self._produced = len(records)
        self._production = Production(broker.address, [*records, *self._closing()])

    def _closing(self) -> list[Sent]:
        """A tick in every partition behind all events."""
        time_us = self._start_us + END_US + CLOSING_US
        tick = msgspec.json.encode({"type": "tick", "time_us": time_us})
        return [Sent(partition, b"", tick, time_us) for partition in range(PARTITIONS)]

    # -- what happens ---------------------------------------------------------------------------------------------

    def faults(self, faults: list[Fault]) -> None:
        """Produce, and let all the faults happen; returns when everything has been sent."""
        for name in FIRST:
            self.members[name].start()
        self._production.start()
        moved = self._moved_on({})
        for number, fault in enumerate(faults):
            self._production.pace(FAULT_EVERY_S * (len(faults) + 1 - number))
            if not fault.hurried:
                moved = self._moved_on(moved)
            self._look_for(fault.after_s)
            self.say(f"{time.monotonic() - self._began:6.1f} s: {fault} ({self._production.sent} events sent)")
            self._do(fault)
            moved = self._committed()
        self._production.pace(FAULT_EVERY_S)
        while self._production.is_alive() or self._later:
            self._look_for(LOOK_S)
        if self._production.failure is not None:
            raise self._production.failure

    def _moved_on(self, before: dict[Place, int]) -> dict[Place, int]:
        """Wait until every traffic partition has been committed beyond `before`, or for MOVED_ON_S_MAX."""
        deadline = time.monotonic() + MOVED_ON_S_MAX
        while time.monotonic() < deadline:
            now = self._committed()
            if len(now) == PARTITIONS and all(offset > before.get(place, 0) for place, offset in now.items()):
                return now
            self._look_for(3 * LOOK_S)
        self.say(f"no progress everywhere in {MOVED_ON_S_MAX:.0f} s: going on")
        return before

    def _committed(self) -> dict[Place, int]:
        offsets = asyncio.run(committed(self._broker.address))
        return {place: offset for place, offset in offsets.items() if place[0] == topic_name("traffic")}

    def _look_for(self, seconds: float) -> None:
        """Let time pass, under supervision."""
        until = time.monotonic() + seconds
        while True:
            for due in sorted(each for each in self._later if each.at <= time.monotonic()):
                self._later.remove(due)
                self._do(due.fault)
            for member in self.members.values():
                member.look(self.say)
            if time.monotonic() >= until:
                return
            time.sleep(min(LOOK_S, seconds))

    def _do(self, fault: Fault) -> None:
        actions: dict[str, Callable[[Fault], None]] = {
            "kill": self._kill,
            "freeze": lambda fault: self.members[fault.member].freeze(),
            "wake": lambda fault: self.members[fault.member].wake(),
            "restart broker": self._restart_broker,
            "join": lambda fault: self.members[fault.member].start(),
            "leave": lambda fault: self.members[fault.member].leave(),
            "plan": self._plan,
            "throttle": lambda fault: self._throttle(fault, "issued"),
            "unthrottle": lambda fault: self._throttle(fault, "reversed"),
        }
        if fault.action in UPON_WHOEVER_RUNS and not self.members[fault.member].runs:
            fault = fault._replace(
                member=next((name for name, each in self.members.items() if each.runs), fault.member)
            )
        actions[fault.action](fault)
        if fault.action in ENDS:
            self._later.append(Later(time.monotonic() + fault.lasts_s, fault._replace(action=ENDS[fault.action])))

    def _kill(self, fault: Fault) -> None:
        member = self.members[fault.member]
        member.kill()
        if member.wanted:
            member.start(float(fault.detail.split()[-3]))

    def _restart_broker(self, fault: Fault) -> None:
        (kill if fault.detail == "after a crash" else down)(self._broker.data_dir)
        up(self._broker.data_dir, int(self._broker.address.rpartition(":")[2]), die_with_parent=True)

    def _plan(self, fault: Fault) -> None:
        organisation, tier = fault.detail.split()
        self._steer("plan", fault, {"organisation": organisation, "tier": tier})

    def _throttle(self, fault: Fault, state: str) -> None:
        target, percent = fault.detail.split()
        expires_us = self._production.time_us + 10 * MINUTE_US
        command = {"command": f"operator {fault.detail}", "alert": "none", "model": "none", "action": "throttle"}
        command |= {"target": target, "state": state, "severity": "warning", "reason": "a person said so"}
        self._steer("command", fault, command | {"expires_us": expires_us, "parameters": {"percent": int(percent)}})

    def _steer(self, kind: str, fault: Fault, fields: dict[str, object]) -> None:
        event = {"type": kind, "id": f"{kind} {fault}", "time_us": self._production.time_us, **fields}
        self._production.steer(str(event["id"]), msgspec.json.encode(event))

    # -- how it ends ----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Wait until the workers have processed all there is, and stop them in order."""
        if not any(member.wanted for member in self.members.values()):  # the timeline may have left nobody
            self.members["a"].start()
        for _ in range(STOPS_MAX):
            self._catch_up()
            for member in self.members.values():
                member.leave()
            codes = {name: member.stopped() for name, member in self.members.items()}
            if not any(codes.values()):
                return
            self.say(f"not all workers stopped in order ({codes}): one starts again to finish their work")
            self.members["a"].start()
        raise NotCaughtUpError(f"no orderly stop in {STOPS_MAX} attempts")

    def _catch_up(self) -> None:
        deadline = time.monotonic() + CATCH_UP_S
        while waiting := asyncio.run(lag(self._broker.address)):
            if time.monotonic() > deadline:
                raise NotCaughtUpError(f"after {CATCH_UP_S:.0f} s there still wait {waiting}")
            self._look_for(3 * LOOK_S)

    def judge(self) -> Judgement:
        logs = asyncio.run(read(self._broker.address, (*FED, *PUBLISHED)))
        judgement = judge(logs, asyncio.run(committed(self._broker.address)), self._produced)
        judgement.counts |= {
            "states restored": self._said("state restored"),
            "workers fenced": self._said("another worker has gone on") + self._said("another process holds it"),
            "fetches lost and made again": self._said("it is fetched again"),
            "ends by themselves": sum(len(member.exits) for member in self.members.values()),
        }
        return judgement

    def _said(self, words: str) -> int:
        """How often the workers' logs say so."""
        return sum(member.log().count(words) for member in self.members.values())


@contextmanager
def running(spec: Spec, say: Say) -> Iterator[Run]:
    """A broker of its own and what runs on it; all gone afterwards. The workers' logs are shown when it fails."""
    with temporary_broker() as broker, tempfile.TemporaryDirectory(prefix="tidegate-oracle-") as folder:
        asyncio.run(create_topics(broker.address, PARTITIONS, 1))
        run = Run(spec, broker, Path(folder), say)
        try:
            yield run
        except BaseException:
            for member in run.members.values():
                say(f"worker {member.name}:\n{member.log()[-LOG_SHOWN_MAX:]}")
            raise
        finally:
            for member in run.members.values():
                member.wanted = False
                member.kill()


def run(spec: Spec, say: Say) -> Judgement:
    """One run, judged."""
    say(f"seed {spec.seed}: {spec.events} events over {PARTITIONS} partitions, with")
    for fault in spec.faults:
        say(f"  {fault}, {fault.when}")
    with running(spec, say) as chaos:
        chaos.faults(spec.faults)
        say("all is sent: waiting for the workers")
        chaos.finish()
        say("comparing")
        return chaos.judge()
