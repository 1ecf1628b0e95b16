"""Which entity is the probable cause? A walk from what is wrong to what explains it, along the calls.

Every entity e has evidence (decimal orders of rarity, `detectors/multimetric.py`) of three kinds:

    own(e)       resources, and its network: nothing else explains these
    symptom(e)   slow or wrong answers: its callees may explain them
    load(e)      more or less work than usual: its callers may explain it

How sure it is that e is anomalous at all: a(e) = 1 / (1 + 10^(sure_at - strength(e))), a half at `sure_at`. A walker starts
at each e in proportion to its evidence and decides, also in proportion, which kind to follow:

    own       stays: e is the cause
    symptom   stays with probability Π (1 - a(c)) over callees c, that no callee explains it; else goes to one of them,
              in proportion to a(c) · strength(c)
    load      the same with callers in place of callees

A step is made with probability `onward`; where the walkers end is the answer, shares that add up to 1. Cycles in the
call graph are no problem (an absorbing Markov chain, solved exactly), and without calls the shares are those of the
evidence itself.

Network evidence comes from calls, and either end may be at fault: it counts for that end of which a greater share of
calls shows it (spectrum-based, as in MicroRank), for the callee when they are equal.

Trade-off: the walk trusts the graph. A dependency that the graph lacks cannot be blamed, and whoever stands next to it is.

Random walks over the anomaly graph: Yu et al., *MicroRank*, WWW 2021. "Explained by its parents or not": Li et al.,
*Causal Inference-Based Root Cause Analysis ... (CIRCA)*, KDD 2022; Budhathoki et al., *Causal structure-based root
cause analysis of outliers*, ICML 2022. Noisy-or: Pearl, *Probabilistic Reasoning in Intelligent Systems*, 1988.

>>> seen = [Clue("shop", "latency", 6.0), Clue("cart", "latency", 5.0), Clue("cart", "resource", 4.0)]
>>> [(s.entity, round(s.share, 2)) for s in localise(seen, calls=[("shop", "cart")])]
[('cart', 0.95), ('shop', 0.05)]
>>> localise(seen, calls=[("shop", "cart")])[0].sentence
'cart: resource (4.0) and latency (5.0) beyond the usual, explains shop'
"""

import math
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from detectors.multimetric import Evidence, Role

ENTITIES_MAX = 5_000
OWN: frozenset[Role] = frozenset({"resource"})
SYMPTOM: frozenset[Role] = frozenset({"latency", "errors"})


class Clue(msgspec.Struct, frozen=True):
    """`strength` in decimal orders of rarity, signed by direction; `caller` for a metric of calls from there."""

    entity: str
    role: Role
    strength: float
    caller: str = ""


class LocaliseParams(msgspec.Struct, frozen=True):
    """`heard_from` and `sure_at` in decimal orders of rarity; `onward` is a probability."""

    heard_from: float = 1.5
    sure_at: float = 3.0
    onward: float = 0.95
    load_weight: float = 0.5


class Suspect(msgspec.Struct, frozen=True):
    """`share` in 0..1; `roles` the strongest evidence of each role; `explains` who its anomaly explains."""

    entity: str
    share: float
    roles: dict[str, float]
    explains: tuple[str, ...]
    sentence: str


class _Node(msgspec.Struct):
    own: float = 0.0
    symptom: float = 0.0
    load: float = 0.0

    @property
    def strength(self) -> float:
        return max(self.own, self.symptom, self.load)

    @property
    def cause(self) -> float:
        """What makes it an explanation of its callers' symptoms."""
        return max(self.own, self.symptom)


def clues_of(evidence: Iterable[Evidence]) -> list[Clue]:
    """What a watch has seen, as clues."""
    return [Clue(e.series.entity, e.role, e.strength, e.series.caller) for e in evidence]


def localise(
    clues: Iterable[Clue], calls: Iterable[tuple[str, str]] = (), params: LocaliseParams = LocaliseParams()
) -> list[Suspect]:
    """Entities with evidence, the most probable cause first; ties by name. `calls` are (caller, callee)."""
    heard = [c for c in clues if abs(c.strength) >= params.heard_from]
    edges = sorted({(a, b) for a, b in calls if a != b})
    nodes, roles = _nodes(heard, edges)
    if not nodes:
        return []
    names = sorted(nodes)
    arrival = _walk(names, nodes, edges, params)
    found = [(name, float(share)) for name, share in zip(names, arrival, strict=True)]
    found.sort(key=lambda f: (-f[1], f[0]))
    return [Suspect(n, s, roles[n], (), n) for n, s in found]


def _nodes(heard: list[Clue], edges: list[tuple[str, str]]) -> tuple[dict[str, _Node], dict[str, dict[str, float]]]:
    nodes: dict[str, _Node] = {}
    roles: dict[str, dict[str, float]] = {}
    network = _network(heard, edges)
    for entity, role, strength in [*((c.entity, c.role, c.strength) for c in heard if c.role not in ("network","wait")), *network]:
        node = nodes.setdefault(entity, _Node())
        r = roles.setdefault(entity, {})
        r[role] = max(r.get(role, 0.0), strength, key=abs)
        if role in ("resource", "network"):
            node.own = max(node.own, strength)
        elif role == "load":
            node.load = max(node.load, abs(strength))
        else:
            node.symptom = max(node.symptom, strength)
    return nodes, roles


def _network(heard: list[Clue], edges: list[tuple[str, str]]) -> list[tuple[str, Role, float]]:
    shown = {(c.caller, c.entity): c.strength for c in heard if c.role == "network"}
    degree: dict[str, list[float]] = {}
    for edge in {*edges, *shown}:
        for end in edge:
            degree.setdefault(end, []).append(shown.get(edge, 0.0))
    out = []
    for (caller, callee), s in sorted(shown.items()):
        share = {end: sum(v > 0 for v in degree[end]) / len(degree[end]) for end in (caller, callee)}
        end = caller if share[caller] > share[callee] else callee
        out.append((end, "network", s))
    return out


def _walk(names, nodes, edges, params):
    index = {n: i for i, n in enumerate(names)}
    n = len(names)
    sure = {name: 1.0 / (1.0 + 10.0 ** (params.sure_at - nodes[name].strength)) for name in names}
    step = np.zeros((n, n))
    stay = np.zeros(n)
    start = np.zeros(n)
    for name in names:
        node, i = nodes[name], index[name]
        load = params.load_weight * node.load
        total = node.own + node.symptom + load
        start[i] = total
        callees = [c for a, c in edges if a == name and c in index and nodes[c].cause > 0]
        callers = [a for a, c in edges if c == name and a in index]
        for weight, others in ((node.symptom, callees), (load, callers)):
            q = 1.0 - math.prod(1.0 - sure[o] for o in others)
            q *= params.onward
            pulls = {o: sure[o] * nodes[o].strength for o in others}
            s = sum(pulls.values())
            stay[i] += weight / total * (1.0 - q if s else 1.0)
            for o, pull in pulls.items():
                step[i, index[o]] += weight / total * q * pull / s
        stay[i] += node.own / total
    visits = np.linalg.solve(np.eye(n) - step.T, start / start.sum())
    return visits * stay
