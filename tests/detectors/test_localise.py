"""Localisation on graphs whose culprit is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.localise import Call, Clue, LocaliseParams, localise
from detectors.multimetric import Role

CHAIN = [("web", "api"), ("api", "auth"), ("api", "db"), ("web", "cache")]


def names(clues: list[Clue], calls: list[Call], at: str | None = None) -> list[str]:
    return [suspect.entity for suspect in localise(clues, calls, at)]


# web ─► api ─► db          The culprit of each case, as an operator would name it.
#  │      └──► auth
#  └──► cache
@pytest.mark.parametrize(
    ("clues", "culprit"),
    [
        pytest.param([Clue("web", "latency", 6.0), Clue("api", "latency", 6.0), Clue("db", "latency", 6.0)], "db"),
        pytest.param([Clue("web", "latency", 6.0), Clue("api", "latency", 9.0), Clue("db", "latency", 5.0)], "db"),
        pytest.param([Clue("web", "latency", 6.0), Clue("api", "latency", 6.0)], "api"),
        pytest.param([Clue("web", "latency", 6.0), Clue("web", "resource", 6.0)], "web"),
        pytest.param([Clue("web", "errors", 9.0), Clue("api", "errors", 9.0), Clue("auth", "resource", 5.0)], "auth"),
        pytest.param([Clue("web", "latency", 6.0), Clue("cache", "network", 6.0, caller="web")], "cache"),
        pytest.param(
            [Clue("web", "errors", 9.0), Clue("api", "load", -9.0), Clue("cache", "load", -9.0)],
            "web",
            id="callees that starve because their caller fails",
        ),
        pytest.param(
            [Clue("api", "network", 6.0, "web"), Clue("cache", "network", 6.0, "web")],
            "web",
            id="all calls of one caller are slow on the way",
        ),
        pytest.param(
            [Clue("db", "network", 6.0, "api"), Clue("api", "latency", 6.0), Clue("web", "latency", 6.0)],
            "db",
            id="one of the calls of a caller is slow on the way",
        ),
        pytest.param(
            [
                Clue("web", "latency", 6.0, extent=14.0),
                Clue("cache", "latency", 7.0, extent=2.0),
                Clue("api", "latency", 6.0, extent=20.0),
            ],
            "api",
            id="a callee that lost 2 s does not explain 14",
        ),
    ],
)
def test_the_culprit_comes_first(clues: list[Clue], culprit: str) -> None:
    assert names(clues, CHAIN)[0] == culprit


def test_starting_at_the_symptom_leaves_the_rest_out() -> None:
    unrelated = [Clue("batch", "resource", 9.0)]
    slow = [Clue("web", "latency", 5.0), Clue("db", "latency", 5.0), Clue("api", "latency", 5.0)]
    share = {at: {s.entity: s.share for s in localise(unrelated + slow, CHAIN, at)} for at in (None, "web", "gone")}
    assert share[None] == share["gone"]
    assert round(share[None]["batch"], 3) == round(9 / 24, 3)
    assert share["web"]["batch"] == 0.0
    assert share["web"]["db"] > 0.8


def test_without_calls_shares_are_those_of_the_evidence() -> None:
    """Models or regions of an API: entities, and no graph."""
    clues = [Clue("us-east", "errors", 6.0), Clue("eu-west", "errors", 2.0), Clue("us-east", "latency", 3.0)]
    suspects = localise(clues)
    assert [(s.entity, round(s.share, 6)) for s in suspects] == [("us-east", 0.75), ("eu-west", 0.25)]


def test_ties_go_by_name_and_faint_clues_are_not_heard() -> None:
    assert names([Clue("b", "latency", 3.0), Clue("a", "latency", 3.0)], []) == ["a", "b"]
    assert names([Clue("a", "latency", 1.0)], []) == []
    assert localise([]) == []


def test_a_cycle_of_calls_shares_the_blame() -> None:
    ring = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")]
    suspects = localise([Clue(n, "latency", 6.0) for n in "abc"], ring)
    assert [round(s.share, 6) for s in suspects] == [round(1 / 3, 6)] * 3
    own = localise([*(Clue(n, "latency", 6.0) for n in "abc"), Clue("b", "resource", 6.0)], ring)
    assert own[0].entity == "b"
    assert own[0].share > 0.85


def test_calls_may_name_entities_without_evidence_and_evidence_entities_without_calls() -> None:
    clues = [Clue("new", "latency", 4.0), Clue("web", "latency", 4.0)]
    assert sorted(names(clues, [("web", "gone"), ("gone", "new")])) == ["new", "web"]


def test_the_sentence_says_what_how_rare_and_what_it_explains() -> None:
    clue = Clue("db", "latency", 5.5, metric="p99_s", actual=1.01, expected=0.0335)
    first = localise([clue, Clue("api", "latency", 6.0)], CHAIN)[0]
    assert first.sentence == "db: p99_s at 1.01 (usually 0.0335) is one in 10^5.5 rows; explains api"
    assert first.explains == ("api",)
    network = Clue("db", "network", 4.0, caller="api", metric="network_s")
    assert localise([network], CHAIN)[0].sentence == "db: network_s of calls from api is one in 10^4.0 rows"


entities = st.sampled_from("abcdefg")
roles: st.SearchStrategy[Role] = st.sampled_from(["resource", "latency", "errors", "load", "network"])
extents = st.one_of(st.none(), st.floats(0.0, 1e9))
clues_ = st.builds(Clue, entities, roles, st.floats(-30.0, 30.0), st.sampled_from(["", *"abc"]), extents)
graphs = st.lists(st.tuples(entities, entities), max_size=30)


@given(st.lists(clues_, max_size=20), graphs, st.one_of(st.none(), entities))
def test_shares_are_a_distribution_whatever_the_graph(clues: list[Clue], calls: list[Call], at: str | None) -> None:
    suspects = localise(clues, calls, at)
    assert all(0.0 <= s.share <= 1.0 + 1e-9 for s in suspects)
    assert not suspects or math.isclose(sum(s.share for s in suspects), 1.0, abs_tol=1e-9)
    assert [s.share for s in suspects] == sorted((s.share for s in suspects), reverse=True) or at is not None


@given(st.lists(clues_, max_size=20), graphs, st.randoms(use_true_random=False))
def test_the_order_of_clues_and_calls_does_not_matter(clues: list[Clue], calls: list[Call], random: object) -> None:
    assert localise(clues, calls) == localise(clues[::-1], calls[::-1])


@given(graphs, st.permutations(list("abcdefg")))
def test_names_mean_nothing(calls: list[Call], renamed: list[str]) -> None:
    new = dict(zip("abcdefg", renamed, strict=True))
    clues = [Clue(n, "latency", 2.0 + 0.7 * i) for i, n in enumerate("abcdefg")]
    shares = {s.entity: s.share for s in localise(clues, calls)}
    moved = localise([Clue(new[c.entity], c.role, c.strength) for c in clues], [(new[a], new[b]) for a, b in calls])
    for suspect in moved:
        old = next(name for name, to in new.items() if to == suspect.entity)
        assert math.isclose(suspect.share, shares[old], abs_tol=1e-9)


def test_more_entities_than_the_limit_keep_the_strongest() -> None:
    clues = [Clue(f"n{i:05}", "latency", 2.0 + i / 1000.0) for i in range(2_100)]
    suspects = localise(clues, params=LocaliseParams())
    assert len(suspects) == 2_000
    assert suspects[0].entity == "n02099"
