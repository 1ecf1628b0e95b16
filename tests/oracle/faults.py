"""Which faults happen, in which order, upon whom and after how long: drawn from a seed. Members are workers by name.

Every seed has each kind at least once: kill -9 of either first worker, a freeze (SIGSTOP) past the session timeout and
the waking of what is then a zombie, a restart of the broker (an orderly one, or after a crash), a third worker that
joins, one that leaves in order, a plan, a throttle and its reversal. Most faults wait until every partition has moved
on since the one before, so that they hit workers that work; *hurried* ones do not, so that faults also meet.
"""

import random
from typing import NamedTuple

FIRST = ("a", "b")
THIRD = "c"
NEEDED = ("kill a", "kill b", "freeze", "broker", "join", "leave", "plan", "throttle")
EXTRA = ("kill", "kill", "freeze", "plan", "throttle", "broker")
FROZEN_S = (1.5, 2.5)  # times the session timeout: others have taken over when it wakes
HURRIED = 0.25


class Fault(NamedTuple):
    """`detail`: how, where there is a choice. `lasts_s`: after how long a freeze or a throttle ends by itself."""

    action: str
    member: str = ""
    detail: str = ""
    lasts_s: float = 0.0
    after_s: float = 0.0
    hurried: bool = False

    def __str__(self) -> str:
        lasts = f"for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return " ".join(filter(None, (self.action, self.member, self.detail, lasts)))

    @property
    def when(self) -> str:
        return f"{self.after_s:.1f} s {'after the last' if self.hurried else 'after all partitions move on'}"


def timeline(seed: int, extras: int, session_s: float) -> list[Fault]:
    """The faults of a seed, in order; `extras` more than one of each kind."""
    rng = random.Random(f"faults {seed}")
    chosen = [*NEEDED, *rng.choices(EXTRA, k=extras)]
    rng.shuffle(chosen)
    join, leave = chosen.index("join"), chosen.index("leave")
    if leave < join:
        chosen[join], chosen[leave] = "leave", "join"
    return [
        _drawn(rng, action, session_s)._replace(after_s=rng.uniform(0.0, 2.0), hurried=rng.random() < HURRIED)
        for action in chosen
    ]


def _drawn(rng: random.Random, action: str, session_s: float) -> Fault:
    kind, _, named = action.partition(" ")
    member = named or rng.choice(FIRST)
    some_organisation = f"org-{rng.randrange(6)}"
    drawn = {
        "kill": lambda: Fault("kill", member, f"and start it {rng.uniform(0.0, 2.0):.1f} s later"),
        "freeze": lambda: Fault("freeze", member, lasts_s=session_s * rng.uniform(*FROZEN_S)),
        "broker": lambda: Fault("restart broker", "", rng.choice(("in order", "after a crash"))),
        "join": lambda: Fault("join", THIRD),
        "leave": lambda: Fault("leave", rng.choice((*FIRST, THIRD))),
        "plan": lambda: Fault("plan", "", f"{some_organisation} {rng.choice(('free', 'pro', 'enterprise'))}"),
        "throttle": lambda: Fault(
            "throttle",
            "",
            f"{rng.choice(('tier:free', 'tier:pro', some_organisation))} {rng.randrange(0, 80, 10)}",
            lasts_s=rng.uniform(2.0, 8.0),
        ),
    }
    return drawn[kind]()
