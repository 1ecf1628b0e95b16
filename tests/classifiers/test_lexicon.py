"""The lexicon's notation, its matching laws, and clear errors for what is wrong in a file."""

from __future__ import annotations

import pytest

from classifiers.keywords import score
from classifiers.lexicon import LexiconError, compile_lexicon, default_lexicon, load_rules_and_concepts
from classifiers.lexicon.files import parse
from classifiers.lexicon.index import HITS_PER_CONCEPT_MAX, Lexicon

SMALL = """
[concepts]
ask = ["how to", "show me"]
burn = ["burn{,s,ed}", "torch*"]
barn = ["@building", "barn{s,}"]
building = ["house", "shed"]
toast = ["toast"]

[[rules]]
name = "ask-to-burn"
categories = ["violence"]
near = ["ask", "!burn", "barn"]
within = 12
weight = 4.0
unless = ["toast"]
intent = true

[[rules]]
name = "burn-named"
categories = ["violence"]
near = ["burn"]
weight = 1.0

[[rules]]
name = "torch-pattern"
categories = ["violence"]
near = ["burn"]
pattern = '\\btorch\\w+ \\d+\\b'
weight = 4.0
"""


def small(text: str = SMALL) -> Lexicon:
    return compile_lexicon(*parse({"small": text}))


RULE_CASES = [
    ("how to burn a barn", {"ask-to-burn", "burn-named"}),
    ("how to burn the sheds", {"burn-named"}),
    ("how to burn the house", {"ask-to-burn", "burn-named"}),
    ("show me what torches barns", {"ask-to-burn", "burn-named"}),
    ("barns burn; show me how to", {"burn-named"}),
    ("how to burn, when it rains a lot, a barn", {"burn-named"}),
    ("how to burn toast in a barn", {"burn-named"}),
    ("torched 12", {"burn-named", "torch-pattern"}),
    ("sunburn and burner", set()),
    ("how to paint a barn", set()),
]


@pytest.mark.parametrize(("text", "rules"), RULE_CASES)
def test_which_rules_hold(text: str, rules: set[str]) -> None:
    assert {span.rule for span in score(text, lexicon=small()).spans} == rules


def test_prefilter_never_hides_what_the_rules_would_find() -> None:
    lexicon = default_lexicon()
    concepts, _ = load_rules_and_concepts()
    for concept in lexicon.positive:
        for word in concepts[concept]:
            assert lexicon.triggers.search(f" so {word.removesuffix('*')} it is ".encode()), word


@pytest.mark.parametrize(
    ("words", "complete"),
    [
        ("how to burn a barn", True),
        ("torch", True),
        ("how to build a barn", False),
        ("how to see a house and show me a shed", False),
        ("", False),
    ],
)
def test_a_rule_is_complete_when_all_its_concepts_are_somewhere(words: str, complete: bool) -> None:
    assert small().some_rule_complete(words) is complete


def test_near_or_not_does_not_matter_for_completeness() -> None:
    apart = small("""
[concepts]
ask = ["how to"]
burn = ["burn"]
[[rules]]
name = "ask-to-burn"
categories = ["violence"]
near = ["ask", "burn"]
weight = 4.0
""")
    assert apart.some_rule_complete("burn " + "x " * 500 + "how to")
    assert not apart.some_rule_complete("burn burn")
    assert not apart.some_rule_complete("how to how to")


def test_a_lexicon_without_rules_finds_nothing() -> None:
    assert not score("how to burn a barn", lexicon=compile_lexicon({}, ())).flagged


def test_hits_are_bounded_and_placed() -> None:
    words = "burn " * 1000
    hits = small().hits(words)
    assert len(hits["burn"]) == HITS_PER_CONCEPT_MAX
    assert all(words[start:end] == "burn" for start, end in hits["burn"])


def test_every_category_has_intent_and_mention_and_mitigation() -> None:
    _, rules = load_rules_and_concepts()
    for category in ("hate", "self-harm", "violence", "sexual", "jailbreak"):
        mine = [rule for rule in rules if category in rule.categories]
        assert any(rule.intent and rule.weight > 0 for rule in mine)
        assert any(not rule.intent and rule.weight > 0 for rule in mine)
        assert any(rule.weight < 0 for rule in mine)


FAULTS = [
    ("[concepts]\na = ['x{y']", "brace"),
    ("[concepts]\na = ['@b']", "nowhere defined"),
    ("[concepts]\na = ['@a']", "refers to itself"),
    ("[concepts]\na = [1]", "file"),
    ("[concepts", "file"),
    ("[concepts]\na = ['Kill']", "lower-case"),
    ("[concepts]\na = ['ki*l']", "star only at the end"),
    ("[concepts]\na = ['{x,*}']", "star only at the end"),
    ("[[rules]]\nname='r'\ncategories=['hate']\nnear=['a']\nweight=1", "unknown concepts"),
    ("[concepts]\na=['x']\n[[rules]]\nname='r'\ncategories=['rudeness']\nnear=['a']\nweight=1", "unknown categories"),
    ("[concepts]\na=['x']\n[[rules]]\nname='r'\ncategories=['hate']\nnear=['a']\nweight=0", "weight"),
    ("[concepts]\na=['x']\n[[rules]]\nname='r'\ncategories=['hate']\nnear=['a']\nwheight=1", "wheight|weight"),
    ("[concepts]\na=['x']\n[[rules]]\nname='r'\ncategories=['hate']\nnear=['a']\nweight=1\npattern='('", "RE2"),
    ("[concepts]\na = ['{a,b,c,d,e,f,g,h,i,j}{a,b,c,d,e,f,g,h,i,j}{a,b,c,d,e,f,g,h,i,j}{a,b,c,d,e}']", "more than"),
    (SMALL + "\n[[rules]]\nname='burn-named'\ncategories=['hate']\nnear=['burn']\nweight=1", "same name"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_faults_are_named(text: str, message: str) -> None:
    with pytest.raises(LexiconError, match=message):
        small(text)


def test_a_concept_may_not_be_defined_twice() -> None:
    with pytest.raises(LexiconError, match="twice"):
        parse({"one": "[concepts]\na=['x']", "two": "[concepts]\na=['y']"})
