"""Compile concepts and rules for a few passes over the words of a text, each asked only when the one before found some.

1. `triggers`, one RE2 of the words that can start a rule with positive weight: most texts hold none and are done. On
   bytes, so that a batch's texts can be searched joined. RE2 walks it as an automaton of at most one state a letter.
2. `some_rule_complete`: are all concepts of such a rule there, wherever they stand? One pass of Aho-Corasick over all
   words (*Efficient string matching*, CACM 18(6), 1975), one bit a concept.
3. `hits`: the same pass, with the places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, reduce
from operator import attrgetter, itemgetter, or_
from typing import Any, Final, NamedTuple

import ahocorasick
import msgspec
import re2

from classifiers.lexicon.files import LexiconError, Rule, load_rules_and_concepts

HITS_PER_CONCEPT_MAX: Final = 64
TRIGGERS_BYTES_MAX: Final = 64 << 20
"""Memory for the states that RE2 has walked: all those of the package's lexicon take some 30 MB."""

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


class Word(NamedTuple):
    """What a word found stands for. Each concept has a bit."""

    key_length: int
    whole: bool
    concepts: tuple[str, ...]
    concept_bits: int


_WORD: Final = itemgetter(1)  # of an automaton's finding, (end, word)
_CONCEPT_BITS: Final = attrgetter("concept_bits")


class Lexicon(msgspec.Struct, frozen=True):
    """Compiled rules, those with positive weight and the mitigating ones apart.

    `triggers` matches UTF-8 of words (as `View.words` gives them, between spaces) that may hold a trigger. `needs` has
    for each trigger's bit the concepts of every positive rule that it starts, as bits.
    """

    positive: Table
    mitigating: Table
    triggers: Any
    all_words: Any
    needs: dict[int, tuple[int, ...]]
    trigger_bits: int

    def some_rule_complete(self, words: str) -> bool:
        """Whether all concepts of some rule with positive weight are in the words, near one another or not."""
        found = reduce(or_, map(_CONCEPT_BITS, map(_WORD, self.all_words.iter(f" {words} "))), 0)
        return any(
            needs & found == needs
            for trigger in _single_bits(found & self.trigger_bits)
            for needs in self.needs[trigger]
        )

    def hits(self, words: str) -> Hits:
        """All concepts found in the words, at most `HITS_PER_CONCEPT_MAX` places each."""
        found: Hits = {}
        for padded_end, (length, whole, concepts, _) in self.all_words.iter(f" {words} "):
            start = padded_end - length + 1
            end = padded_end - 1 if whole else _word_end(words, padded_end)
            place = (start, end)
            for concept in concepts:
                places = found.get(concept)
                if places is None:
                    found[concept] = [place]
                elif len(places) < HITS_PER_CONCEPT_MAX:
                    places.append(place)
        return found


def _word_end(words: str, start: int) -> int:
    end = words.find(" ", start)
    return len(words) if end < 0 else end


def _key(word: str) -> tuple[str, bool]:
    """The string to look up, spaces standing for word boundaries, and whether the word is whole (not a prefix)."""
    return (f" {word[:-1]}", False) if word.endswith("*") else (f" {word} ", True)


def _single_bits(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest
        bits ^= lowest


def _bits(concepts: Iterable[str], bit: dict[str, int]) -> int:
    return reduce(or_, (bit[concept] for concept in concepts), 0)


def _automaton(words: dict[str, set[str]], bit: dict[str, int]) -> Any:
    automaton = ahocorasick.Automaton()
    for word, concepts in words.items():
        key, whole = _key(word)
        automaton.add_word(key, Word(len(key), whole, tuple(sorted(concepts)), _bits(concepts, bit)))
    automaton.make_automaton()
    return automaton


def _any_of(words: Iterable[str]) -> Any:
    """An RE2 on UTF-8 for words between spaces or apostrophes; for no words one that matches nothing."""
    options = re2.Options()
    options.max_mem = TRIGGERS_BYTES_MAX
    endings = sorted({word.removesuffix("*") if word.endswith("*") else f"{word}[ ']" for word in words})
    return re2.compile("[ '](?:{})".format("|".join(endings)).encode() if endings else rb"[^\x00-\x{10ffff}]", options)


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
    bit = {name: 1 << place for place, name in enumerate(sorted(used))}
    positive = _by_trigger(rule for rule in rules if rule.weight > 0)
    return Lexicon(
        positive=positive,
        mitigating=_by_trigger(rule for rule in rules if rule.weight < 0),
        triggers=_any_of(_by_word(concepts, positive)),
        all_words=_automaton(_by_word(concepts, used), bit),
        needs={
            bit[name]: tuple({_bits(plan.rule.concepts, bit) for plan in plans}) for name, plans in positive.items()
        },
        trigger_bits=_bits(positive, bit),
    )


@cache
def default_lexicon() -> Lexicon:
    """The package's own lexicon, compiled on first use."""
    return compile_lexicon(*load_rules_and_concepts())
