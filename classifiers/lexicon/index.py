"""Compile concepts and rules for one pass of Aho-Corasick over the words of a text.

Two automata: a small one of the words that can start a rule with positive weight (the prefilter: most texts hold none
of them and are done), and one of all words, asked only when the first found something. Aho and Corasick, *Efficient
string matching*, CACM 18(6), 1975.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, NamedTuple

import ahocorasick
import msgspec
import re2

from classifiers.lexicon.files import LexiconError, Rule, load_rules_and_concepts

HITS_PER_CONCEPT_MAX: Final = 64

Hits = dict[str, list[tuple[int, int]]]
"""Where each concept was found: half-open spans in the words searched, by end."""


class Plan(NamedTuple):
    """A rule made ready: each partner of the trigger with the side it must be on (-1 before, 1 after, 0 either)."""

    rule: Rule
    trigger: str
    partners: tuple[tuple[str, int], ...]
    pattern: Any


Table = dict[str, tuple[Plan, ...]]
"""Plans by trigger concept."""


class Lexicon(msgspec.Struct, frozen=True):
    """Compiled rules, those with positive weight and the mitigating ones apart."""

    positive: Table
    mitigating: Table
    prefilter: Any
    all_words: Any

    def may_hold_evidence(self, words: str) -> bool:
        """Whether any trigger word is in the words (as `View.words` gives them)."""
        return next(self.prefilter.iter(f" {words} "), None) is not None

    def hits(self, words: str) -> Hits:
        """All concepts found in the words, at most `HITS_PER_CONCEPT_MAX` places each."""
        found: Hits = {}
        for padded_end, (length, whole, concepts) in self.all_words.iter(f" {words} "):
            start = padded_end - length + 1
            end = padded_end - 1 if whole else _word_end(words, padded_end)
            for concept in concepts:
                places = found.setdefault(concept, [])
                if len(places) < HITS_PER_CONCEPT_MAX:
                    places.append((start, end))
        return found


def _word_end(words: str, start: int) -> int:
    end = words.find(" ", start)
    return len(words) if end < 0 else end


def _key(word: str) -> tuple[str, bool]:
    """The string to look up, spaces standing for word boundaries, and whether the word is whole (not a prefix)."""
    return (f" {word[:-1]}", False) if word.endswith("*") else (f" {word} ", True)


def _automaton(words: dict[str, set[str]]) -> Any:
    automaton = ahocorasick.Automaton()
    for word, concepts in words.items():
        key, whole = _key(word)
        automaton.add_word(key, (len(key), whole, tuple(sorted(concepts))))
    automaton.make_automaton()
    return automaton


def _by_word(concepts: dict[str, tuple[str, ...]], names: Iterable[str]) -> dict[str, set[str]]:
    words: dict[str, set[str]] = {}
    for name in names:
        for word in concepts[name]:
            words.setdefault(word, set()).add(name)
    return words


def _plan(rule: Rule) -> Plan:
    trigger = rule.trigger
    sides = [(place > trigger) - (place < trigger) if rule.ordered else 0 for place in range(len(rule.near))]
    around = zip(rule.concepts, sides, strict=True)
    partners = tuple(pair for place, pair in enumerate(around) if place != trigger)
    return Plan(rule, rule.concepts[trigger], partners, _pattern(rule))


def _by_trigger(rules: Iterable[Rule]) -> Table:
    table: Table = {}
    for plan in map(_plan, rules):
        table[plan.trigger] = (*table.get(plan.trigger, ()), plan)
    return table


def _pattern(rule: Rule) -> Any:
    try:
        return re2.compile(rule.pattern) if rule.pattern else None
    except re2.error as error:
        raise LexiconError(f"rule {rule.name!r}: RE2 does not take its pattern: {error}") from error


def compile_lexicon(concepts: dict[str, tuple[str, ...]], rules: tuple[Rule, ...]) -> Lexicon:
    """Automata and tables for `concepts` and `rules` (as `files.parse` gives them)."""
    used = {name for rule in rules for name in rule.concepts + rule.unless}
    positive = _by_trigger(rule for rule in rules if rule.weight > 0)
    return Lexicon(
        positive=positive,
        mitigating=_by_trigger(rule for rule in rules if rule.weight < 0),
        prefilter=_automaton(_by_word(concepts, positive)),
        all_words=_automaton(_by_word(concepts, used)),
    )


@cache
def default_lexicon() -> Lexicon:
    """The package's own lexicon, compiled on first use."""
    return compile_lexicon(*load_rules_and_concepts())
