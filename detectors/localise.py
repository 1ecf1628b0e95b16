"""Which entity is the probable cause? Walks from what is wrong to what explains it, along the calls.

Evidence (decimal orders of rarity, `detectors/multimetric.py`) is of three kinds, by its role:

    own       resource, network: nothing else explains it
    symptom   latency, errors: slow or wrong answers, which the callees may explain
    load      more or less work than usual, which the callers may explain; counts `load_weight` of the others

Of strength s an entity is anomalous with probability a = 1 / (1 + 10^(sure_at - s)), odds that grow with rarity and are
even at `sure_at`. A walker starts at each entity in proportion to its evidence, or at the entity `at`
whose trouble is to be explained, and follows one kind of what it finds there, again in proportion:

    own       it stays: here is the cause
    symptom   it stays with probability Π (1 - a_c) over the callees c, that none of them explains it (noisy-or);
              else it goes on to one of them, in proportion to a_c · s_c, where s_c is c's own and symptom evidence
    load      the same with the callers and all of their evidence

Where extents are known (seconds lost, requests failed) a_c also takes the factor min(1, extent_c / extent): a callee
that lost 7 s explains half of its caller's 14, so one that is slow because it sits beside the cause is told from it.

A step onward is made at most with probability `onward`. Where walkers end are the shares, which add up to 1: an
absorbing Markov chain, solved exactly, so that cycles in the call graph do no harm. Without calls, the shares are the
evidence itself.

Network evidence comes from a call, and either end may be the cause: the one with the greater Ochiai coefficient
k / √(n · K), where K calls show any, k of which are among the n calls to the callee, or from the caller; the callee
when they are equal.

Trade-off: the graph is believed. A dependency that it lacks is not blamed, and who stands next to it is. It needs no
training and no model of the metrics; a learnt causal model names more where it fits and needs data of every edge.

Random walk on call graphs and spectra: Yu et al., *MicroRank*, WWW 2021. Whether parents explain a deviation: Li et
al., *Causal Inference-Based Root Cause Analysis for Online Service Systems with Intervention Recognition* (CIRCA), KDD
2022; Budhathoki et al., *Causal Structure-based Root Cause Analysis of Outliers*, ICML 2022. Noisy-or: Pearl,
*Probabilistic Reasoning in Intelligent Systems*, 1988.

>>> seen = [Clue("shop", "latency", 6.0), Clue("cart", "latency", 5.0), Clue("cart", "resource", 4.0, metric="cpu")]
>>> for suspect in localise(seen, calls=[("shop", "cart")]): print(round(suspect.share, 2), suspect.sentence)
0.98 cart: cpu is one in 10^4.0 rows; explains shop
0.02 shop: latency is one in 10^6.0 rows
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.multimetric import Evidence, Role

ENTITIES_MAX = 2_000
EXPLAINS_MAX = 3
EXPLAINED_FROM = 0.3  # the share of an entity's walkers that must end at a suspect for it to "explain" the entity

Call = tuple[str, str]
Matrix = npt.NDArray[np.float64]


class Clue(msgspec.Struct, frozen=True):
    """Evidence in one entity; `metric`, `actual` and `expected` are for the sentence only.

    `strength` is signed by direction. `caller` is set for a metric of calls from there to `entity`. `extent`: how much
    there was beyond the usual in all (failed requests, seconds lost), None where it is not known.
    """

    entity: str
    role: Role
    strength: float
    caller: str = ""
    extent: float | None = None
    metric: str = ""
    actual: float | None = None
    expected: float | None = None


class LocaliseParams(msgspec.Struct, frozen=True):
    """`heard_from`, the least strength that counts, and `sure_at` in decimal orders of rarity."""

    heard_from: float = 1.5
    sure_at: float = 3.0
    onward: float = 0.95
    load_weight: float = 0.5


class Suspect(msgspec.Struct, frozen=True):
    """`share` in 0..1 of the blame; `explains` names entities whose symptoms lead here, most first."""

    entity: str
    share: float
    clue: Clue
    explains: tuple[str, ...]
    sentence: str


class _Node(msgspec.Struct):
    """Strengths by kind, and the strongest clue of each."""

    own: float = 0.0
    symptom: float = 0.0
    load: float = 0.0
    extents: dict[Role, float] = {}
    clue: Clue | None = None

    @property
    def strength(self) -> float:
        return max(self.own, self.symptom, self.load)


def clues_of(evidence: Iterable[Evidence]) -> list[Clue]:
    """What a watch has seen in a row, as clues."""
    return [
        Clue(e.series.entity, e.role, e.strength, e.series.caller, e.extent, e.series.metric, e.actual, e.expected)
        for e in evidence
    ]


def localise(
    clues: Iterable[Clue],
    calls: Iterable[Call] = (),
    at: str | None = None,
    params: LocaliseParams | None = None,
) -> list[Suspect]:
    """Suspects, the most probable cause first, ties by name; empty when no clue is strong enough.

    `calls` are (caller, callee); entities without evidence may appear in them, and evidence of entities that no call
    names counts. `at` starts all walks there, if there is evidence of it. Only the `ENTITIES_MAX` strongest entities
    are looked at.
    """
    p = params or LocaliseParams()
    heard = [clue for clue in clues if abs(clue.strength) >= p.heard_from]
    edges = {(caller, callee) for caller, callee in calls if caller != callee}
    nodes = _nodes(heard, edges)
    names = sorted(sorted(nodes, key=lambda name: (-nodes[name].strength, name))[:ENTITIES_MAX])
    if not names:
        return []
    start, ends = _walks(names, nodes, edges, p)
    if at in names:
        start = np.eye(len(names))[names.index(at)]
    shares = start @ ends
    order = sorted(range(len(names)), key=lambda i: (-round(float(shares[i]), 12), names[i]))
    return [_suspect(i, names, nodes, shares, ends) for i in order]


def _nodes(heard: Sequence[Clue], edges: set[Call]) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    for clue in _placed(heard, edges):
        node = nodes.setdefault(clue.entity, _Node())
        strength = abs(clue.strength)
        if clue.role in ("resource", "network"):
            node.own = max(node.own, strength)
        elif clue.role == "load":
            node.load = max(node.load, strength)
        else:
            node.symptom = max(node.symptom, strength)
            if clue.extent is not None and not clue.caller:
                node.extents[clue.role] = max(node.extents.get(clue.role, 0.0), clue.extent)
        if node.clue is None or _precedes(clue, node.clue):
            node.clue = clue
    return nodes


def _precedes(clue: Clue, other: Clue) -> bool:
    """Whether `clue` tells more about a cause: own before symptom before load, then the stronger one, then by name."""
    return _order(clue) > _order(other)


def _order(clue: Clue) -> tuple[int, float, float, str, str, str, float]:
    extent = -1.0 if clue.extent is None else clue.extent
    rank = {"resource": 2, "network": 2, "latency": 1, "errors": 1, "load": 0}[clue.role]
    return rank, abs(clue.strength), clue.strength, clue.role, clue.metric, clue.caller, extent


def _placed(heard: Sequence[Clue], edges: set[Call]) -> list[Clue]:
    """Network evidence at the callee, or at the caller when that explains more of it (Ochiai)."""
    shown = {(clue.caller, clue.entity) for clue in heard if clue.role == "network" and clue.caller}
    calls = edges | shown

    def likeness(end: int, name: str) -> float:
        of = [call in shown for call in calls if call[end] == name]
        return sum(of) / math.sqrt(len(of) * len(shown))

    at_caller = {call for call in shown if likeness(0, call[0]) > likeness(1, call[1])}
    return [
        msgspec.structs.replace(clue, entity=clue.caller)
        if clue.role == "network" and (clue.caller, clue.entity) in at_caller
        else clue
        for clue in heard
    ]


def _walks(names: list[str], nodes: dict[str, _Node], edges: set[Call], p: LocaliseParams) -> tuple[Matrix, Matrix]:
    """Where walkers start, and `ends[i, j]`, the probability that one from entity i ends at j."""
    index = {name: i for i, name in enumerate(names)}
    callees: list[list[int]] = [[] for _ in names]
    callers: list[list[int]] = [[] for _ in names]
    for caller, callee in sorted(edges):
        if caller in index and callee in index:
            callees[index[caller]].append(index[callee])
            callers[index[callee]].append(index[caller])
    found = [nodes[name] for name in names]
    causes = [_sure(max(node.own, node.symptom), p) for node in found]
    steps = np.zeros((len(names), len(names)))
    for i, node in enumerate(found):
        load = p.load_weight * node.load
        total = node.own + node.symptom + load
        downwards = {
            o: (causes[o] * _could_explain(found[o], node), found[o].own + found[o].symptom) for o in callees[i]
        }
        upwards = {o: (_sure(found[o].strength, p), found[o].strength) for o in callers[i]}
        for kind, others in ((node.symptom, downwards), (load, upwards)):
            explained = 1.0 - math.prod(1.0 - sure for sure, _ in others.values())
            pull = sum(sure * strength for sure, strength in others.values())
            for o, (sure, strength) in others.items():
                steps[i, o] += p.onward * kind / total * explained * sure * strength / pull if pull > 0.0 else 0.0
    weights = np.array([node.own + node.symptom + p.load_weight * node.load for node in found])
    visits = np.linalg.inv(np.eye(len(names)) - steps)
    return weights / weights.sum(), visits * (1.0 - steps.sum(axis=1))


def _sure(strength: float, p: LocaliseParams) -> float:
    """Probability that an entity of this strength is anomalous."""
    return 1.0 / (1.0 + math.pow(10.0, p.sure_at - strength))


def _could_explain(callee: _Node, caller: _Node) -> float:
    """The part of all of the caller's trouble that the callee's can be, in 0..1; 1.0 where extents are not known."""
    parts = [
        min(1.0, callee.extents[role] / extent)
        for role, extent in caller.extents.items()
        if extent > 0.0 and role in callee.extents
    ]
    return min(parts, default=1.0)


def _suspect(i: int, names: list[str], nodes: dict[str, _Node], shares: Matrix, ends: Matrix) -> Suspect:
    led = [(float(ends[j, i]), name) for j, name in enumerate(names) if j != i and ends[j, i] >= EXPLAINED_FROM]
    explains = tuple(name for _, name in sorted(led, key=lambda pair: (-pair[0], pair[1])))[:EXPLAINS_MAX]
    clue = nodes[names[i]].clue
    assert clue is not None
    return Suspect(names[i], float(shares[i]), clue, explains, _sentence(names[i], clue, explains))


def _sentence(name: str, clue: Clue, explains: tuple[str, ...]) -> str:
    what = clue.metric or clue.role
    values = ""
    if clue.actual is not None and clue.expected is not None:
        values = f" at {clue.actual:.3g} (usually {clue.expected:.3g})"
    called = f" of calls from {clue.caller}" if clue.caller and clue.caller != name else ""
    also = f"; explains {', '.join(explains)}" if explains else ""
    return f"{name}: {what}{called}{values} is one in 10^{abs(clue.strength):.1f} rows{also}"
